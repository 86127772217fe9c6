"""Channels of features with mean 0 and deviation 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST_DEVIATION = 1e-3  # added to the deviation of a channel, which may be zero


class StandardisedChannels(nn.Module):
    """Channels brought to mean 0 and deviation 1, by means and deviations that are set once, from the training images.

    Until `fit` sets them, nothing changes.

    Attributes:
        mean, deviation: buffers (C,): subtracted, then divided by.

    >>> standardise = StandardisedChannels(channels=2)
    >>> standardise.fit(mean=torch.tensor([1.0, 0.0]), deviation=torch.tensor([0.5, 1.0]))
    >>> standardise(torch.tensor([[2.0, 0.0]])).round(decimals=2)
    tensor([[2., 0.]])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    @torch.no_grad()
    def fit(self, mean: Tensor, deviation: Tensor) -> None:
        """Set the mean and the standard deviation of each channel, both (C,); 0.001 is added to the deviations.

        Raises:
            ValueError: another shape, a value that is not finite, or a negative deviation.
        """
        for values in (mean, deviation):
            if values.shape != self.mean.shape or not values.isfinite().all():
                raise ValueError(f"finite values of shape {tuple(self.mean.shape)} are needed, not {values}")
        if (deviation < 0).any():
            raise ValueError("a standard deviation is negative")
        self.mean.copy_(mean)
        self.deviation.copy_(deviation + SMALLEST_DEVIATION)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (B, C, h, w), or positions or vectors (.., C), to the same shape, in float32 at least."""
        shape = (-1, 1, 1) if features.ndim == 4 else (-1,)
        return (features - self.mean.view(shape)) / self.deviation.view(shape)
