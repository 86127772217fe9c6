"""The box of an image that is resized to the network's square input, in training and in evaluation.

A crop is a function (image width, image height) -> box (left, top, width, height), in pixels of the full image. The box
is drawn before the image is decoded, so a JPEG is decoded no larger than the box requires. A paper's "resize to
512 x 512, then crop 448" is also a single box, which is resized once instead of twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

Region = tuple[float, float, float, float]
Crop = Callable[[int, int], Region]

ML_GCN_SCALES = (1.0, 0.875, 0.75, 0.66, 0.5)
C_TRAN_SCALES = (1.0, 0.9, 0.8, 0.6, 0.5)  # 640, 576, 512, 384 and 320 of 640 pixels
PLACES = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 0), (2, 4), (1, 1), (3, 1), (1, 3), (3, 3))
TRIES = 10


def whole(width: int, height: int) -> Region:
    """The whole image, which is then stretched to the square.

    >>> from tagformer.images.crops import whole
    >>> whole(500, 300)
    (0, 0, 500, 300)
    """
    return 0, 0, width, height


def centre(width: int, height: int) -> Region:
    """The largest square in the middle of the image.

    >>> from tagformer.images.crops import centre
    >>> centre(500, 300)
    (100.0, 0.0, 300, 300)
    """
    side = min(width, height)
    return (width - side) / 2, (height - side) / 2, side, side


def random_area(scale: Sequence[float]) -> Crop:
    """A random box with an aspect ratio between 3/4 and 4/3 (Szegedy et al. 2015, "inception crop").

    Args:
        scale: (least, largest) share of the image's area.

    >>> from tagformer.images.crops import random_area
    >>> left, top, width, height = random_area((0.5, 0.5))(100, 100)
    >>> 0.48 < width * height / 10_000 < 0.52
    True
    """

    def crop(width: int, height: int) -> Region:
        for _ in range(TRIES):
            size, shape, across, down = torch.rand(4).tolist()  # one call is the main cost
            area = width * height * (scale[0] + size * (scale[1] - scale[0]))
            ratio = math.exp((2 * shape - 1) * math.log(4 / 3))
            wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < high <= height:
                return int(across * (width - wide + 1)), int(down * (height - high + 1)), wide, high
        ratio = min(max(width / height, 3 / 4), 4 / 3)
        wide, high = min(width, round(height * ratio)), min(height, round(width / ratio))
        return (width - wide) // 2, (height - high) // 2, wide, high

    return crop


def multi_scale(scales: Sequence[float] = ML_GCN_SCALES, distort: int = 2) -> Crop:
    """ML-GCN's multi-scale crop, which CAT uses: a random box of the image after resizing it to 512 x 512 pixels.

    The box lies at one of 13 places: the corners, the middles of the edges, the centre, and halfway between the centre
    and the corners.

    Args:
        scales: possible sides of the box, as shares of the image's.
        distort: width and height are drawn as a pair of scales that are at most this many places apart in the list.

    >>> from tagformer.images.crops import multi_scale
    >>> left, top, width, height = multi_scale()(512, 512)
    >>> width in (512, 448, 384, 337.92, 256)
    True
    """
    pairs = [(wide, high) for i, wide in enumerate(scales) for j, high in enumerate(scales) if abs(i - j) <= distort]

    def crop(width: int, height: int) -> Region:
        wide, high = pairs[_integer(len(pairs) - 1)]
        across, down = PLACES[_integer(len(PLACES) - 1)]
        left, top = (1 - wide) * across / 4, (1 - high) * down / 4
        return left * width, top * height, wide * width, high * height

    return crop


def random_square(scales: Sequence[float] = C_TRAN_SCALES) -> Crop:
    """C-Tran's crop: a random square of the image after resizing it to 640 x 640 pixels.

    Args:
        scales: possible sides of the square, as shares of the image's.

    >>> from tagformer.images.crops import random_square
    >>> left, top, width, height = random_square()(640, 640)
    >>> round(width) in (640, 576, 512, 384, 320)
    True
    """

    def crop(width: int, height: int) -> Region:
        side = scales[_integer(len(scales) - 1)]
        left, top = _uniform(0, 1 - side), _uniform(0, 1 - side)
        return left * width, top * height, side * width, side * height

    return crop


def middle(share: float) -> Crop:
    """The middle of the image, with `share` of its width and height (576 / 640 in C-Tran's test).

    >>> from tagformer.images.crops import middle
    >>> middle(0.5)(400, 200)
    (100.0, 50.0, 200.0, 100.0)
    """

    def crop(width: int, height: int) -> Region:
        return width * (1 - share) / 2, height * (1 - share) / 2, width * share, height * share

    return crop


def middle_pixels(side: int) -> Crop:
    """The middle `side` x `side` pixels, without resizing; a box that is larger than the image is filled with black.

    It is the test of the concept bottleneck models, and of C-Tran on CUB.

    >>> from tagformer.images.crops import middle_pixels
    >>> middle_pixels(300)(500, 280)
    (100, -10, 300, 300)
    """

    def crop(width: int, height: int) -> Region:
        return (width - side) // 2, (height - side) // 2, side, side

    return crop


def _uniform(least: float, largest: float) -> float:
    return least + (largest - least) * float(torch.rand(()))


def _integer(largest: int) -> int:
    """A whole number, uniform in 0..largest."""
    return int(torch.randint(largest + 1, ()))
