"""Keeping the features of images already encoded, so that other known labels cost only a decode."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tagformer.images.reading import Picture, open_picture

AnyImage = str | Path | Image.Image | np.ndarray


class FeatureCache:
    """The features of the last images, by the images' content.

    Args:
        encode: from pictures to features (B, ...).
        size: how many images' features are kept.
    """

    def __init__(self, encode: Callable[[Sequence[Picture]], Tensor], size: int) -> None:
        self.size = size
        self._encode = encode
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    def features(self, images: Sequence[AnyImage]) -> Tensor:
        """Features (B, ...) of the images; those that are not kept are encoded in one batch.

        Raises:
            BadImageError: an image cannot be read; the message names it.
        """
        keys = [identity(image) for image in images]
        features = {key: self._features[key] for key in keys if key in self._features}
        missing = {key: image for key, image in zip(keys, images, strict=True) if key not in features}
        if missing:
            encoded = self._encode([open_any(image) for image in missing.values()])
            features.update(zip(missing, encoded, strict=True))
        for key in keys:
            self._features[key] = features[key]
            self._features.move_to_end(key)
        while len(self._features) > self.size:
            self._features.popitem(last=False)
        return torch.stack([features[key] for key in keys])


def open_any(image: AnyImage) -> Picture:
    """A picture from a path, a PIL image, or a uint8 array (H, W) or (H, W, 3 or 4).

    Raises:
        BadImageError: the file cannot be read; the message names it.
    """
    if isinstance(image, str | Path):
        return open_picture(Path(image))
    return Picture.of(image if isinstance(image, Image.Image) else Image.fromarray(image))


def identity(image: AnyImage) -> str:
    """What distinguishes images: the path, time and size of a file, the pixels of an image in memory."""
    if isinstance(image, str | Path):
        path = Path(image)
        state = path.stat() if path.exists() else None
        return f"{path.resolve()}/{state.st_mtime_ns}/{state.st_size}" if state else str(path)
    pixels = open_any(image).pixels().permute(1, 2, 0).numpy()
    return hashlib.blake2b(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()
