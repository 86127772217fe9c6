"""Remembered features that are made up, in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tagformer.features.remembered import RememberedFeatures
from tagformer.features.segment import Segment


def remembered(*views: Tensor, bad: Sequence[int] = ()) -> RememberedFeatures:
    """Features of N images with one map, (N, C, h, w) for each view; the images of some rows cannot be read."""
    rows = [row for row in range(len(views[0])) if row not in bad]
    digests = tuple(f"image {row}" for row in rows)
    segments = [[Segment(digests, (maps[rows].half(),), 0)] for maps in views]
    _, channels, height, width = views[0].shape
    return RememberedFeatures(
        [f"view {number}" for number in range(len(views))],
        [None if row in bad else f"image {row}" for row in range(len(views[0]))],
        segments,
        [(channels, height, width)],
        {row: f"image {row} is broken" for row in bad},
    )


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Values of a normal distribution that half precision has exactly."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).half().float()


def random_labels(*shape: int, seed: int = 0, unknown: float = 0.0) -> Tensor:
    """int8 labels, half of them present, a share of all unknown."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, shape, generator=generator).to(torch.int8)
    return labels.masked_fill(torch.rand(shape, generator=generator) < unknown, -1)


def separable(images: int, labels: int = 3, channels: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Maps (N, C, 2, 2) and labels (N, L): a label is present where its channel is high at one of the positions."""
    states = random_labels(images, labels, seed=seed)
    maps = 0.3 * noise(images, channels, 2, 2, seed=seed + 1)
    place = torch.randint(0, 4, (images, labels), generator=torch.Generator().manual_seed(seed + 2))
    shown = torch.nn.functional.one_hot(place, 4) * states.unsqueeze(2)  # (N, L, 4)
    maps.flatten(2)[:, :labels] += 2 * shown
    return maps.half().float(), states
