"""COCO: the instances JSON, read and written, and COCO-1000, which adds words of the captions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
