"""CSV: a table with a column of image paths, and either one column of tags or one column per label."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
