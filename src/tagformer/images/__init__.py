"""Images: where they come from, how they are decoded, cropped and made the network's input."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
