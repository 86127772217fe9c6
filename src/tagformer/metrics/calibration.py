"""Do the probabilities mean what they say? The reliability curve, its error, and the temperature that mends it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tagformer.labels.space import PRESENT, UNKNOWN

COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Reliability:
    """What was said and what was true, in bins of equal width over [0, 1]; float64 (bins,).

    Attributes:
        count: entries (an image and a label) in each bin.
        confidence: mean probability, NaN in an empty bin.
        frequency: share of positives, NaN in an empty bin.
    """

    count: Tensor
    confidence: Tensor
    frequency: Tensor

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance between confidence and frequency, weighted by the bins' counts (Guo et al. 2017, eq. 3)."""
        distance = (self.confidence - self.frequency).abs().nan_to_num(0)
        return (distance * self.count).sum().item() / max(self.count.sum().item(), 1)


def reliability(probabilities: Tensor, labels: Tensor, bins: int = 15) -> Reliability:
    """Compare probabilities (N, L) with labels (N, L), all annotated entries together."""
    annotated = labels != UNKNOWN
    said = probabilities.detach().cpu()[annotated].double()
    true = (labels[annotated] == PRESENT).double()
    bin_of = (said * bins).long().clamp(max=bins - 1)
    count, total, positive = (
        torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_of, each)
        for each in (torch.ones_like(said), said, true)
    )
    return Reliability(count, total / count, positive / count)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T for which sigmoid(logits / T) has the least cross-entropy (Guo et al. 2017, section 4.2).

    The loss is convex in 1 / T, so that the root of its derivative, the mean of logit * (probability - label), is
    found by halving.

    Args:
        logits: (N, L).
        labels: (N, L) in {1, 0, -1}; entries with -1 are left out.

    Returns:
        T between 0.05 and 20; 1 where nothing is annotated.
    """
    annotated = labels != UNKNOWN
    values = logits.detach().cpu()[annotated].double()
    true = (labels[annotated] == PRESENT).double()
    if not len(values):
        return 1.0
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(50):
        middle = (low * high) ** 0.5
        slope = (values * (torch.sigmoid(values * middle) - true)).mean().item()
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 1 / (low * high) ** 0.5
