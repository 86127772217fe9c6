"""Metrics of multi-label tagging: a pure functional core, other tools' conventions, and an accumulator around it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
