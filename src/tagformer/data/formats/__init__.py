"""The formats of data sets, one file or folder each: its reader and, where it can be written, its writer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
