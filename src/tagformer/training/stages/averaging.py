"""What the trainings of heads and encoder share: warm-up, and the moving average of the weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

WARMUP = 0.1  # share of the steps
AVERAGE = 0.99  # decay of the averaged weights, once there are enough steps


def update_averages(averaged: Sequence[Tensor], parameters: Sequence[Tensor], step: int) -> None:
    """Move averaged weights towards the weights of a step; the first steps count little in the end.

    Args:
        averaged: changed.
        parameters: of the same shapes.
        step: counted from 0; the decay is the smaller of 0.99 and (1 + step) / (10 + step).

    >>> import torch
    >>> average = torch.zeros(1)
    >>> update_averages([average], [torch.ones(1)], step=0)
    >>> average
    tensor([0.9000])
    """
    get_ema_multi_avg_fn(min(AVERAGE, (1 + step) / (10 + step)))(list(averaged), list(parameters), step)
