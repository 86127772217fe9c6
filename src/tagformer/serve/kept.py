"""The images that clients sent last, with their features, so that other known labels cost only a decode."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from torch import Tensor

from tagformer.errors import TagformerError
from tagformer.images.preprocessing import Corners

Maps = tuple[Tensor, ...]
MAPS = 16  # images whose maps are kept


class NotKeptError(TagformerError):
    """An image is not kept, or no longer."""


def unguessable_id() -> str:
    """An id of 128 random bits: who has it was given it."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, eq=False)
class KeptImage:
    """An image that a client sent.

    Attributes:
        pixels: the network's input before it is normalised, uint8 (3, size, size).
        features: (...) of the model of `version`.
        width, height: of the upright image, in pixels.
        region: the part of the image that the network sees.
        version: of the model that computed the features.
        id: unguessable.
    """

    pixels: Tensor
    features: Tensor
    width: int
    height: int
    region: Corners
    version: str
    id: str = field(default_factory=unguessable_id)


class KeptImages:
    """The last images, by their ids; safe for several threads.

    Args:
        size: how many are kept.
        maps: of how many the maps of the backbone are kept too, which take much more memory.
    """

    def __init__(self, size: int, maps: int = MAPS) -> None:
        self.size = size
        self._images: OrderedDict[str, KeptImage] = OrderedDict()
        self._maps_size = maps
        self._maps: OrderedDict[str, tuple[str, Maps]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, image: KeptImage, maps: Maps | None = None) -> None:
        """Keep an image, or replace it; the one that was used longest ago is forgotten where there are too many.

        Args:
            maps: of the backbone, each (1, C, h, w), for heat maps.
        """
        with self._lock:
            self._images[image.id] = image
            self._images.move_to_end(image.id)
            while len(self._images) > self.size:
                self._images.popitem(last=False)
            if maps is not None:
                self._maps[image.id] = (image.version, maps)
                self._maps.move_to_end(image.id)
                while len(self._maps) > self._maps_size:
                    self._maps.popitem(last=False)

    def maps(self, image: KeptImage) -> Maps | None:
        """The maps of the backbone of the image's version, where they are kept."""
        with self._lock:
            version, maps = self._maps.get(image.id, ("", None))
            if maps is not None:
                self._maps.move_to_end(image.id)
            return maps if version == image.version else None

    def get(self, image_id: str) -> KeptImage:
        """The image of an id.

        Raises:
            NotKeptError: there is none.
        """
        with self._lock:
            if image_id not in self._images:
                raise NotKeptError("there is no image of this id, or it is no longer kept: send the image again.")
            self._images.move_to_end(image_id)
            return self._images[image_id]

    def forget(self) -> None:
        """Forget all images."""
        with self._lock:
            self._images.clear()
            self._maps.clear()

    def __len__(self) -> int:
        return len(self._images)
