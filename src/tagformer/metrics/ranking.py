"""Metrics of a ranking: average precision in its variants, and the area under the ROC curve.

Pure functions on the CPU. Only the order of the scores matters, so logits and probabilities give the same figures,
unless the sigmoid made two logits equal. Labels are 1, 0 or -1; entries with -1 are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN

Ties = Literal["grouped", "first", "last"]
Interpolation = Literal["none", "area", "11-point"]

BLOCK = 16  # columns per task: 16 float32 are one cache line of a row of the score matrix
RECALLS = np.linspace(0, 1, 11)  # of the 11-point average precision


def average_precision(
    scores: Tensor, labels: Tensor, ties: Ties = "grouped", interpolation: Interpolation = "none"
) -> Tensor:
    """Average precision of each label: the mean, over its positives, of the precision at their scores.

    Args:
        scores: (N, L), logits, probabilities or any other monotone score.
        labels: (N, L) in {1, 0, -1}; entries with -1 are left out of the ranking.
        ties: ``"grouped"``: equal scores share one rank, and the precision at a score counts all images that have it,
            so the order of the images does not matter (as in scikit-learn). ``"first"``, ``"last"``: of equal scores
            the first or the last image ranks first (in some published code, as a side effect of its sorting).
        interpolation: ``"none"``: exact. ``"area"``: the precision at a recall is the highest precision at that or any
            higher recall (VOC 2010 and later). ``"11-point"``: the mean of this precision at the recalls
            0, .1, ..., 1 (VOC 2007).

    Returns:
        float64 (L,), NaN for labels without a positive.

    Raises:
        ValueError: the shapes differ, or a score is NaN.

    >>> import torch
    >>> from tagformer.metrics import average_precision
    >>> scores = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    >>> average_precision(scores, torch.tensor([[0], [1], [1], [0]]))  # (1/2 + 2/3) / 2
    tensor([0.5833], dtype=torch.float64)
    """

    def of_column(values: np.ndarray, states: np.ndarray) -> float:
        positives, images = _counts_at_positives(values, states, ties)
        if not len(positives):
            return np.nan
        return _mean_precision(positives / images, positives / len(positives), interpolation)

    return _per_label(of_column, scores, labels)


def area_under_roc(scores: Tensor, labels: Tensor) -> Tensor:
    """Area under the ROC curve of each label: how often a positive scores above a negative; equal scores count half.

    Args:
        scores, labels: see `average_precision`.

    Returns:
        float64 (L,), NaN for labels without a positive or without a negative.

    Raises:
        ValueError: the shapes differ, or a score is NaN.

    >>> import torch
    >>> from tagformer.metrics import area_under_roc
    >>> scores = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    >>> area_under_roc(scores, torch.tensor([[0], [1], [1], [0]]))  # two of four pairs are in order
    tensor([0.5000], dtype=torch.float64)
    """

    def of_column(values: np.ndarray, states: np.ndarray) -> float:
        positives, negatives = values[states == PRESENT], np.sort(values[states == ABSENT])
        if not len(positives) or not len(negatives):
            return np.nan
        below = np.searchsorted(negatives, positives, side="left").mean()
        not_above = np.searchsorted(negatives, positives, side="right").mean()
        return (below + not_above) / 2 / len(negatives)

    return _per_label(of_column, scores, labels)


def precision_recall_curve(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Precision and recall of one label, with the threshold at the score of each of its positives.

    Args:
        scores, labels: (N,), see `average_precision`.

    Returns:
        precision, recall: float64 (P,) for P positives, by increasing recall. The mean of the precisions is the
        average precision.

    >>> import torch
    >>> from tagformer.metrics import precision_recall_curve
    >>> precision_recall_curve(torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([1, 0, 0, 1]))
    (tensor([1.0000, 0.5000], dtype=torch.float64), tensor([0.5000, 1.0000], dtype=torch.float64))
    """
    values, states = _checked(scores.unsqueeze(1), labels.unsqueeze(1))
    positives, images = _counts_at_positives(values[:, 0], states[:, 0], "grouped")
    precision, recall = positives / images, positives / max(len(positives), 1)
    return torch.from_numpy(precision[::-1].copy()), torch.from_numpy(recall[::-1].copy())


def _counts_at_positives(values: np.ndarray, states: np.ndarray, ties: Ties) -> tuple[np.ndarray, np.ndarray]:
    """For each positive, the numbers of positives and of images that rank at least as high; in decreasing order."""
    positive = states == PRESENT
    if ties == "grouped":
        positives = np.sort(values[positive])
        ranked = np.sort(values[states != UNKNOWN])
        positives_above = len(positives) - np.searchsorted(positives, positives, side="left")
        return positives_above, len(ranked) - np.searchsorted(ranked, positives, side="left")
    annotated = np.flatnonzero(states != UNKNOWN)
    if ties == "last":
        annotated = annotated[::-1]
    order = annotated[np.argsort(-values[annotated], kind="stable")]
    ranks = np.flatnonzero(positive[order]) + 1
    return np.arange(len(ranks), 0, -1), ranks[::-1]


def _mean_precision(precision: np.ndarray, recall: np.ndarray, interpolation: Interpolation) -> float:
    """Average precision from the precision and recall at each positive (P,), ordered by decreasing recall."""
    if interpolation == "none":
        return precision.mean()
    highest = np.maximum.accumulate(precision)  # the highest precision at this or any higher recall
    if interpolation == "area":
        return highest.mean()
    reached = np.searchsorted(recall[::-1], RECALLS - 1e-12)  # recall 1 is always reached
    return highest[::-1][reached].mean()


def _per_label(of_column: Callable[[np.ndarray, np.ndarray], float], scores: Tensor, labels: Tensor) -> Tensor:
    """Apply `of_column` to each column's scores and labels, on as many threads as torch uses."""
    values, states = _checked(scores, labels)

    def of_block(start: int) -> list[float]:
        columns = np.ascontiguousarray(values[:, start : start + BLOCK].T)
        column_states = np.ascontiguousarray(states[:, start : start + BLOCK].T)
        return [of_column(*column) for column in zip(columns, column_states, strict=True)]

    starts = range(0, values.shape[1], BLOCK)
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as threads:
        blocks: Iterator[list[float]] = threads.map(of_block, starts)
        return torch.tensor([value for block in blocks for value in block], dtype=torch.float64)


def _checked(scores: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    if scores.shape != labels.shape or scores.ndim != 2:
        raise ValueError(f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)} must both be (N, L)")
    if scores.dtype in (torch.bfloat16, torch.float16):
        scores = scores.float()
    values = scores.detach().cpu().numpy()
    if np.isnan(values.sum()) and np.isnan(values).any():  # the sum alone is faster, but infinities may also sum to NaN
        raise ValueError("a score is NaN: the model has diverged")
    return values, labels.detach().cpu().numpy()
