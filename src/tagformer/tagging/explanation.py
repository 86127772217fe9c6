"""Where in an image a model sees its labels, and how well the maps point at the objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tagformer.images.preprocessing import Corners
from tagformer.tagging.prediction import Tag


@dataclass(frozen=True)
class Explanation:
    """Some labels of one image, and where each is seen.

    Attributes:
        tags: K labels with their probabilities.
        maps: float32 (K, h, w), high where a label is seen; comparable within a map, not between maps.
        region: the part of the image that the maps cover.

    >>> import torch
    >>> from tagformer.tagging import Explanation, Tag
    >>> heat = torch.zeros(1, 4, 4)
    >>> heat[0, 3, 1] = 1.0
    >>> explanation = Explanation((Tag("dog", 0.9, 0.5, known=False),), heat, region=(0, 0, 1, 1))
    >>> explanation.peak(0), explanation.hits(0, [(0.0, 0.5, 0.5, 1.0)])
    ((0.375, 0.875), True)
    """

    tags: tuple[Tag, ...]
    maps: Tensor
    region: Corners

    def peak(self, number: int) -> tuple[float, float]:
        """Where a label's map is highest, the middle of that position: x and y as fractions of the image."""
        heat = self.maps[number]
        row, column = divmod(int(heat.argmax()), heat.shape[1])
        left, top, right, bottom = self.region
        return (
            left + (right - left) * (column + 0.5) / heat.shape[1],
            top + (bottom - top) * (row + 0.5) / heat.shape[0],
        )

    def hits(self, number: int, boxes: Sequence[Corners]) -> bool:
        """Whether a label's peak lies in one of its boxes, without a margin around them.

        This is the pointing game (Zhang et al., ECCV 2016).
        """
        x, y = self.peak(number)
        return any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in boxes)


def chance(boxes: Sequence[Corners], region: Corners = (0.0, 0.0, 1.0, 1.0), grid: int = 200) -> float:
    """How often a random point in a region of the image lies in one of the boxes: the share of the area they cover.

    Args:
        boxes: as fractions of the image.
        region: of the image.
        grid: how many points per side are counted.

    >>> from tagformer.tagging.explanation import chance
    >>> chance([(0.0, 0.0, 0.5, 0.5)])
    0.25
    """
    ticks = (torch.arange(grid) + 0.5) / grid
    x, y = region[0] + ticks * (region[2] - region[0]), region[1] + ticks * (region[3] - region[1])
    inside = torch.zeros(grid, grid, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        across, down = (x >= left) & (x <= right), (y >= top) & (y <= bottom)
        inside |= down[:, None] & across
    return inside.float().mean().item()
