"""Average precision by object size (MlTr, Table 7)."""

from __future__ import annotations

import torch
from torch import Tensor

from tagformer.labels.space import PRESENT, UNKNOWN
from tagformer.metrics.ranking import average_precision

SIZES = ("small", "medium", "large")  # the states 1, 2 and 3; 0 where the image has no object of the label


def average_precision_by_size(scores: Tensor, labels: Tensor, sizes: Tensor) -> dict[str, Tensor]:
    """Average precision per object size: the positives of that size against all negatives.

    Positives of the other sizes are left out.

    Args:
        scores, labels: (N, L), see `average_precision`.
        sizes: int8 (N, L), the size of the label's largest object in the image, by COCO's areas: 1 small, below 32^2
            pixels, 2 medium, below 96^2 pixels, 3 large; 0 where there is none.

    Returns:
        float64 (L,) for each size, NaN for labels without a positive of that size.

    Raises:
        ValueError: the shapes differ.

    >>> import torch
    >>> from tagformer.metrics import average_precision_by_size
    >>> scores = torch.tensor([[0.9], [0.8], [0.7]])
    >>> average_precision_by_size(scores, torch.tensor([[1], [0], [1]]), torch.tensor([[3], [0], [1]]))["small"]
    tensor([0.5000], dtype=torch.float64)
    """
    if sizes.shape != labels.shape:
        raise ValueError(f"sizes {tuple(sizes.shape)} and labels {tuple(labels.shape)} must both be (N, L)")
    present = labels == PRESENT
    return {
        name: average_precision(scores, torch.where(present & (sizes != size), UNKNOWN, labels))
        for size, name in enumerate(SIZES, start=1)
    }
