"""Training in stages: a head on remembered features, C-Tran on its evidence, and the whole network from there."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
