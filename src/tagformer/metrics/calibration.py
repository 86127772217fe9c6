"""Calibration: the reliability curve, the expected calibration error, and the temperature that reduces it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from torch import Tensor

from tagformer.labels.space import PRESENT, UNKNOWN

LOWEST, HIGHEST = 0.05, 20.0  # temperatures


@dataclass(frozen=True)
class Reliability:
    """The predicted probabilities and the observed frequencies, in bins of equal width over [0, 1]; float64 (bins,).

    Attributes:
        count: the number of entries, that is pairs of an image and a label, in each bin.
        confidence: mean probability, NaN in an empty bin.
        frequency: share of positives, NaN in an empty bin.

    >>> import torch
    >>> from tagformer.metrics import reliability
    >>> bins = reliability(torch.tensor([[0.2], [0.2], [0.9]]), torch.tensor([[0], [1], [1]]), bins=2)
    >>> bins.count.tolist(), bins.frequency.tolist()
    ([2.0, 1.0], [0.5, 1.0])
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
    """Compare probabilities with labels, over all annotated entries together.

    Args:
        probabilities: (N, L).
        labels: (N, L) in {1, 0, -1}; entries with -1 are left out.
        bins: the number of bins.

    >>> import torch
    >>> from tagformer.metrics import reliability
    >>> curve = reliability(torch.tensor([[0.25, 0.25, 0.75, 0.75]]), torch.tensor([[0, 1, 1, -1]]), bins=2)
    >>> curve.count.tolist(), curve.confidence.tolist(), curve.frequency.tolist()
    ([2.0, 1.0], [0.25, 0.75], [0.5, 1.0])
    >>> curve.expected_calibration_error  # 0.25 in both bins
    0.25
    """
    annotated = labels != UNKNOWN
    confidence = probabilities.detach().cpu()[annotated].double()
    positive = (labels[annotated] == PRESENT).double()
    bin_of = (confidence * bins).long().clamp(max=bins - 1)
    count, confidence_sum, positive_sum = (
        torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_of, values)
        for values in (torch.ones_like(confidence), confidence, positive)
    )
    return Reliability(count, confidence_sum / count, positive_sum / count)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T for which sigmoid(logits / T) has the lowest cross-entropy (Guo et al. 2017, section 4.2).

    The loss is convex in 1 / T. Its minimum is the root of its derivative, the mean of logit * (probability - label).

    Args:
        logits: (N, L).
        labels: (N, L) in {1, 0, -1}; entries with -1 are left out.

    Returns:
        T between 0.05 and 20; 1 where nothing is annotated.

    >>> import math
    >>> import torch
    >>> from tagformer.metrics import fit_temperature
    >>> logits = torch.full((4, 1), 2 * math.log(3))  # a probability of 90 %, but three of four are positive
    >>> round(fit_temperature(logits, torch.tensor([[1], [1], [1], [0]])), 6)
    2.0
    """
    annotated = labels != UNKNOWN
    values = logits.detach().cpu()[annotated].double()
    positive = (labels[annotated] == PRESENT).double()
    if not len(values):
        return 1.0

    def slope(log_temperature: float) -> float:
        return (values * (torch.sigmoid(values * math.exp(-log_temperature)) - positive)).mean().item()

    lowest, highest = math.log(LOWEST), math.log(HIGHEST)
    if slope(lowest) <= 0:
        return LOWEST
    if slope(highest) >= 0:
        return HIGHEST
    return math.exp(brentq(slope, lowest, highest))
