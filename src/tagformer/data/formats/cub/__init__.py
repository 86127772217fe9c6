"""CUB-200-2011: birds, with classes and concepts as labels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
