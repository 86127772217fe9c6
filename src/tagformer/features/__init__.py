"""Remembered features: a frozen backbone sees each image once per view."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
