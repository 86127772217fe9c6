"""Average precision by the size of the objects (MlTr, Table 7)."""

from __future__ import annotations

import torch
from torch import Tensor

from tagformer.labels.space import PRESENT, UNKNOWN
from tagformer.metrics.ranking import average_precision

SIZES = ("small", "medium", "large")  # 1, 2, 3; 0 where an image has no instance of the label


def average_precision_by_size(scores: Tensor, labels: Tensor, sizes: Tensor) -> dict[str, Tensor]:
    """Average precision over the positives of one size against all negatives; the other sizes' positives are left out.

    Args:
        scores, labels: (N, L), see `average_precision`.
        sizes: int8 (N, L), the size of the label's largest instance in the image: 1 small, below 32^2 square pixels as
            in COCO, 2 medium, below 96^2, 3 large; 0 where there is none.

    Returns:
        For each size float64 (L,), NaN for labels without a positive of that size.

    Raises:
        ValueError: the shapes differ.
    """
    if sizes.shape != labels.shape:
        raise ValueError(f"sizes {tuple(sizes.shape)} and labels {tuple(labels.shape)} must both be (N, L)")
    present = labels == PRESENT
    return {
        name: average_precision(scores, torch.where(present & (sizes != size), UNKNOWN, labels))
        for size, name in enumerate(SIZES, start=1)
    }
