"""Where in an image a model sees its labels, and how well that points at the objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tagformer.tagging.prediction import Tag

Corners = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of the width and height


@dataclass(frozen=True)
class Explanation:
    """Some labels of one image, and where each is seen.

    Attributes:
        tags: K labels with their probabilities.
        maps: float32 (K, h, w), the higher the more; comparable within a map, not between maps.
        region: the part of the image that the maps cover.
    """

    tags: tuple[Tag, ...]
    maps: Tensor
    region: Corners

    def peak(self, number: int) -> tuple[float, float]:
        """The middle of the position where a label's map is highest: x and y as fractions of the image."""
        heat = self.maps[number]
        row, column = divmod(int(heat.argmax()), heat.shape[1])
        left, top, right, bottom = self.region
        return (
            left + (right - left) * (column + 0.5) / heat.shape[1],
            top + (bottom - top) * (row + 0.5) / heat.shape[0],
        )

    def hits(self, number: int, boxes: Sequence[Corners]) -> bool:
        """The pointing game (Zhang et al., ECCV 2016): whether a label's peak lies in one of its boxes, with no pixel
        of tolerance around them."""
        x, y = self.peak(number)
        return any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in boxes)


def chance(boxes: Sequence[Corners], region: Corners = (0.0, 0.0, 1.0, 1.0), grid: int = 200) -> float:
    """How often a point anywhere in a region of the image lies in one of the boxes: their joint share of its area.

    Args:
        grid: points a side that are counted.
    """
    ticks = (torch.arange(grid) + 0.5) / grid
    x, y = region[0] + ticks * (region[2] - region[0]), region[1] + ticks * (region[3] - region[1])
    inside = torch.zeros(grid, grid, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        across, down = (x >= left) & (x <= right), (y >= top) & (y <= bottom)
        inside |= down[:, None] & across
    return inside.float().mean().item()
