"""Metrics of multi-label tagging, as pure functions on the CPU in float64.

Scores may be logits or probabilities where only their order counts, and are said to be one or the other where a
threshold is met. Labels are 1, 0 or -1; entries with -1 count for nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tagformer.labels import PRESENT, UNKNOWN


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Average precision of every label: the mean, over its positives, of the precision at their scores.

    Exact (not interpolated). Equal scores are one rank: the precision at a score counts every image that has it, so
    that the order of the images does not matter (as scikit-learn does).

    Args:
        scores: (N, L), any monotone score.
        labels: (N, L) in {1, 0, -1}; entries with -1 are left out of the ranking.

    Returns:
        float64 (L,), NaN for labels without a positive.

    Raises:
        ValueError: the shapes differ, or a score is NaN.
    """
    values, states = _checked(scores, labels)
    result = np.full(states.shape[1], np.nan)
    for column in range(states.shape[1]):
        own = states[:, column]
        positives = np.sort(values[own == PRESENT, column])
        if not len(positives):
            continue
        ranked = np.sort(values[own != UNKNOWN, column])
        # Number of positives, and of all images, whose score is at least that of each positive.
        hits = len(positives) - np.searchsorted(positives, positives, side="left")
        drawn = len(ranked) - np.searchsorted(ranked, positives, side="left")
        result[column] = np.mean(hits / drawn)
    return torch.from_numpy(result)


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision, recall and F1, per class and overall (CAT and C-Tran; fractions in [0, 1])."""

    CP: float
    CR: float
    CF1: float
    OP: float
    OR: float
    OF1: float


def precision_recall(predicted: Tensor, labels: Tensor) -> PrecisionRecall:
    """Per-class (CP, CR, CF1) and overall (OP, OR, OF1) precision, recall and F1.

    CP and CR are means over the labels that have a positive; a label that is never predicted has precision 0. CF1 is
    the harmonic mean of CP and CR, OF1 that of OP and OR, taken over all decisions together.

    Args:
        predicted: bool (N, L).
        labels: (N, L) in {1, 0, -1}; entries with -1 count neither as right nor as wrong.

    Returns:
        NaN throughout where no label has a positive.
    """
    annotated = labels != UNKNOWN
    present = labels == PRESENT
    chosen = predicted & annotated
    true_positives = (chosen & present).sum(0).double()
    predictions = chosen.sum(0).double()
    positives = present.sum(0).double()
    counted = positives > 0
    if not counted.any():
        return PrecisionRecall(*[math.nan] * 6)
    precision = (true_positives / predictions.clamp(min=1))[counted].mean().item()
    recall = (true_positives / positives.clamp(min=1))[counted].mean().item()
    overall_precision = (true_positives.sum() / predictions.sum().clamp(min=1)).item()
    overall_recall = (true_positives.sum() / positives.sum()).item()
    return PrecisionRecall(
        precision,
        recall,
        _harmonic_mean(precision, recall),
        overall_precision,
        overall_recall,
        _harmonic_mean(overall_precision, overall_recall),
    )


def top_k(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """bool (N, L): exactly the k annotated labels of each image with the highest scores (all, where there are fewer).

    Of equal scores the label with the lower column is taken.
    """
    scores = scores.double().masked_fill(labels == UNKNOWN, -torch.inf)
    best = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    chosen = torch.zeros_like(labels, dtype=torch.bool).scatter_(1, best, True)
    return chosen & (labels != UNKNOWN)


def _harmonic_mean(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b > 0 else a + b  # 0, or NaN where one is NaN


def _checked(scores: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    if scores.shape != labels.shape or scores.ndim != 2:
        raise ValueError(f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)} must both be (N, L)")
    if scores.dtype in (torch.bfloat16, torch.float16):
        scores = scores.float()
    values = scores.detach().cpu().numpy()
    if np.isnan(values).any():
        raise ValueError("a score is NaN: the model has diverged")
    return values, labels.detach().cpu().numpy()
