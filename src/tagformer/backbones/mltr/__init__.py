"""The network of MlTr (Cheng et al., 2021): attention, network, variants, and weights to start from."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
