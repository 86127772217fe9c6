"""Positional encodings of image tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

GRID = 16  # side of the learned table of positions; it is interpolated to the grid of the image


def sine_positions(
    height: int, width: int, channels: int, device: torch.device | None = None, normalised: bool = False
) -> Tensor:
    """Fixed sines and cosines of row and column, (height * width, channels); Vaswani et al. 2017, in two dimensions.

    The first half of the channels encodes the row, the second half the column, each at wavelengths from 2 pi to
    20,000 pi positions. If `normalised`, the positions 1, 2, .. are scaled so that the last is 2 pi, whatever the size
    of the image (Carion et al., DETR, ECCV 2020).

    Raises:
        ValueError: the number of channels is not a multiple of 4.

    >>> sine_positions(height=2, width=3, channels=8).shape
    torch.Size([6, 8])
    """
    if channels % 4:
        raise ValueError(f"2-D sine positions need a multiple of 4 channels, not {channels}")
    rates = torch.exp(torch.arange(0, channels // 2, 2, device=device) * (-math.log(10_000) / (channels // 2)))

    def encoded(count: int) -> Tensor:
        places = torch.arange(count, device=device)
        if normalised:
            places = (places + 1) * (2 * math.pi / count)
        angles = places.unsqueeze(1) * rates  # (count, channels / 4)
        return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)  # (count, channels / 2)

    rows = encoded(height).unsqueeze(1).expand(-1, width, -1)
    columns = encoded(width).unsqueeze(0).expand(height, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


class LearnedPositions(nn.Module):
    """A learned vector for each position of a grid, interpolated to the grid of the image.

    >>> LearnedPositions(channels=8)(height=2, width=3).shape
    torch.Size([6, 8])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(1, channels, GRID, GRID))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, height: int, width: int) -> Tensor:
        """The vectors of a grid, (height * width, channels)."""
        grid = F.interpolate(self.table, (height, width), mode="bilinear", align_corners=False)
        return grid[0].flatten(1).T
