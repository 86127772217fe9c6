"""Mixup for images with many labels (Zhang et al. 2018): blends of two images, with the labels of both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tagformer.labels.space import UNKNOWN


def mix(inputs: Sequence[Tensor], alpha: float) -> tuple[list[Tensor], Tensor, float]:
    """Blend each image of a batch with another image of the batch.

    Args:
        inputs: the images, float (B, 3, H, W), or feature maps of them, each (B, C, h, w); not changed.
        alpha: the weight w is drawn from Beta(alpha, alpha), once per batch.

    Returns:
        The mixed inputs w x + (1 - w) x[partner], the index of the partner of each image (B,), and the weight w. The
        loss is mixed with the same weights, which for binary cross-entropy equals the loss of the labels
        w y + (1 - w) y[partner].

    >>> (mixed,), partner, weight = mix([torch.rand(4, 3, 8, 8)], alpha=0.4)
    >>> mixed.shape, partner.shape, 0 <= weight <= 1
    (torch.Size([4, 3, 8, 8]), torch.Size([4]), True)
    """
    weight = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(inputs[0])).to(inputs[0].device)
    return [torch.lerp(values[partner], values, weight) for values in inputs], partner, weight


def agreed(labels: Tensor, partners: Tensor) -> Tensor:
    """The labels on which both images agree, int8 (B, L); the others are unknown.

    Only these can be known labels of a mixed image.

    >>> labels, partners = torch.tensor([[1, 0, 1]]), torch.tensor([[1, 0, 0]])
    >>> agreed(labels, partners).tolist()
    [[1, 0, -1]]
    """
    return torch.where(labels == partners, labels, UNKNOWN)
