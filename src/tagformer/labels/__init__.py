"""The three states of a label, the names of the labels, and which of them a model is given as input."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
