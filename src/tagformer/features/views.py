"""Views: the ways in which a frozen backbone looks at an image. They depend on nothing but the image's content."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tagformer.errors import TagformerError
from tagformer.images.preprocessing import Preprocessing
from tagformer.images.transforms import ImageTransform, training_transform

PLAIN, MIRROR = "plain", "mirror"
AUGMENTATION: Mapping[str, Any] = {"crop_scale": (0.6, 1.0), "flip": 0.5}


def view_names(count: int, mirror: bool = True) -> tuple[str, ...]:
    """The first `count` views of an image: as in evaluation, mirrored, then random crops.

    Args:
        count: how many, at least 1.
        mirror: whether a mirrored image means the same; without it random crops follow at once.

    >>> from tagformer.features import view_names
    >>> view_names(4), view_names(2, mirror=False)
    (('plain', 'mirror', 'crop-0', 'crop-1'), ('plain', 'crop-0'))
    """
    fixed = (PLAIN, MIRROR) if mirror else (PLAIN,)
    return (*fixed, *(f"crop-{number}" for number in range(count)))[:count]


def is_crop(view: str) -> bool:
    """Whether a view is a random crop, ``crop-0``, ``crop-1``, ...

    Raises:
        TagformerError: there is no such view.
    """
    if view in (PLAIN, MIRROR):
        return False
    if re.fullmatch(r"crop-\d+", view):
        return True
    raise TagformerError(f"unknown view '{view}': use plain, mirror, or crop-0, crop-1 and so on.")


def view_transform(view: str, preprocessing: Preprocessing, augmentation: Mapping[str, Any]) -> ImageTransform:
    """From a picture to the uint8 image that the view shows; for ``mirror`` before it is mirrored.

    Args:
        view: its name.
        preprocessing: how an image becomes the network's input in evaluation.
        augmentation: of the random crops, options of `images.training_transform`. They are drawn from torch's
            generator, which the caller seeds.
    """
    if is_crop(view):
        return training_transform(preprocessing.size, preprocessing.resize, **augmentation)
    return preprocessing.transform
