"""Mixup for images with many labels (Zhang et al. 2018): two pictures over one another, with the labels of both."""

from __future__ import annotations

import torch
from torch import Tensor

from tagformer.labels.space import UNKNOWN


def mix(images: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Lay another image of the batch over each.

    Args:
        images: float (B, C, H, W); left alone.
        alpha: the weight is drawn from Beta(alpha, alpha), one for the batch.

    Returns:
        The mixed images, each image's partner (B,), and the weight w of the image itself: w x + (1 - w) x[partner]. The
        loss is mixed likewise: for binary cross-entropy that is the loss of labels w y + (1 - w) y[partner].
    """
    weight = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(images)).to(images.device)
    return torch.lerp(images[partner], images, weight), partner, weight


def agreed(labels: Tensor, partners: Tensor) -> Tensor:
    """What is true of both images, int8 (B, L): a model can be told only that; the rest is unknown."""
    return torch.where(labels == partners, labels, UNKNOWN)
