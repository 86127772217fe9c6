"""Metrics of multi-label tagging: pure functions, other tools' conventions, and a torchmetrics metric around them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
