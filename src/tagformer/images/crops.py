"""Which part of an image goes into the network's square, in training and in evaluation.

A crop is a box (left, top, width, height) in pixels of the full image, drawn before the image is decoded, so that a
JPEG need not be decoded larger than the box has to be. A paper's "resize to 512 x 512, then crop 448" is such a box
too: it is stretched to the square once, instead of twice.
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
    """All of the image, which is stretched to the square."""
    return 0, 0, width, height


def centre(width: int, height: int) -> Region:
    """The largest square in the middle."""
    side = min(width, height)
    return (width - side) / 2, (height - side) / 2, side, side


def random_area(scale: Sequence[float]) -> Crop:
    """A box with a share of the image's area in `scale` and an aspect ratio in 3/4..4/3 (Szegedy et al. 2015)."""

    def crop(width: int, height: int) -> Region:
        for _ in range(TRIES):
            size, shape, across, down = torch.rand(4).tolist()  # one call: each costs as much as all the arithmetic
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
    """The multi-scale crop of ML-GCN, which CAT uses: a box of the image stretched to a square (of 512 pixels).

    Args:
        scales: sides of the box as shares of the square's. Its width and its height are drawn together from the pairs
            of scales that are at most `distort` places apart in this list.

    The box lies at one of 13 places: the corners, the middles of the edges, the centre, and halfway between the centre
    and the corners.
    """
    pairs = [(wide, high) for i, wide in enumerate(scales) for j, high in enumerate(scales) if abs(i - j) <= distort]

    def crop(width: int, height: int) -> Region:
        wide, high = pairs[_integer(len(pairs) - 1)]
        across, down = PLACES[_integer(len(PLACES) - 1)]
        left, top = (1 - wide) * across / 4, (1 - high) * down / 4
        return left * width, top * height, wide * width, high * height

    return crop


def random_square(scales: Sequence[float] = C_TRAN_SCALES) -> Crop:
    """C-Tran's crop: a square with one of these sides, anywhere in the image stretched to a square (of 640 pixels)."""

    def crop(width: int, height: int) -> Region:
        side = scales[_integer(len(scales) - 1)]
        left, top = _uniform(0, 1 - side), _uniform(0, 1 - side)
        return left * width, top * height, side * width, side * height

    return crop


def middle(share: float) -> Crop:
    """The middle of the image, stretched to the square: `share` of its width and height (C-Tran's test: 576 / 640)."""

    def crop(width: int, height: int) -> Region:
        return width * (1 - share) / 2, height * (1 - share) / 2, width * share, height * share

    return crop


def _uniform(least: float, largest: float) -> float:
    return least + (largest - least) * float(torch.rand(()))


def _integer(largest: int) -> int:
    """Uniform in 0..largest."""
    return int(torch.randint(largest + 1, ()))
