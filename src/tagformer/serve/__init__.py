"""A trained model as a server: an API, the Open Inference Protocol, and a backend of Label Studio."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
