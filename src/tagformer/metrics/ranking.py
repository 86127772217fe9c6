"""Metrics of a ranking: average precision in its variants, and the area under the ROC curve.

Pure functions on the CPU. Only the order of the scores counts, so that logits and probabilities serve alike, as long
as no two logits have become one probability. Labels are 1, 0 or -1; entries with -1 count for nothing.
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

BLOCK = 16  # columns that a thread copies at once, to read each row of the score matrix in whole cache lines
RECALLS = np.linspace(0, 1, 11)  # where the 11-point average precision looks


def average_precision(
    scores: Tensor, labels: Tensor, ties: Ties = "grouped", interpolation: Interpolation = "none"
) -> Tensor:
    """Average precision of every label: the mean, over its positives, of the precision at their scores.

    Args:
        scores: (N, L), any monotone score.
        labels: (N, L) in {1, 0, -1}; entries with -1 are left out of the ranking.
        ties: ``"grouped"``: equal scores are one rank, the precision at a score counts every image that has it, so
            that the order of the images does not matter (as scikit-learn does). ``"first"`` and ``"last"``: of equal
            scores the image that comes first, or last, ranks first (as some peers' code does by accident).
        interpolation: ``"none"``: exact. ``"area"``: the precision at a recall is the highest at that recall or any
            above it (VOC 2010 and later). ``"11-point"``: the mean of that precision at the recalls 0, .1, ..., 1
            (VOC 2007).

    Returns:
        float64 (L,), NaN for labels without a positive.

    Raises:
        ValueError: the shapes differ, or a score is NaN.
    """

    def of_column(values: np.ndarray, states: np.ndarray) -> float:
        hits, drawn = _counts_at_positives(values, states, ties)
        return _mean_precision(hits / drawn, hits / len(hits), interpolation) if len(hits) else np.nan

    return _per_label(of_column, scores, labels)


def area_under_roc(scores: Tensor, labels: Tensor) -> Tensor:
    """Area under the ROC curve of every label: how often a positive scores above a negative; equal scores count half.

    Args:
        scores, labels: see `average_precision`.

    Returns:
        float64 (L,), NaN for labels without a positive or without a negative.

    Raises:
        ValueError: the shapes differ, or a score is NaN.
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
    """Precision and recall of one label as the threshold falls from its highest positive to its lowest.

    Args:
        scores, labels: (N,), see `average_precision`.

    Returns:
        precision, recall: float64 (P,) for P positives, by rising recall; their mean precision is the average
        precision.
    """
    values, states = _checked(scores.unsqueeze(1), labels.unsqueeze(1))
    hits, drawn = _counts_at_positives(values[:, 0], states[:, 0], "grouped")
    return torch.from_numpy((hits / drawn)[::-1].copy()), torch.from_numpy((hits / max(len(hits), 1))[::-1].copy())


def _counts_at_positives(values: np.ndarray, states: np.ndarray, ties: Ties) -> tuple[np.ndarray, np.ndarray]:
    """How many positives, and how many images, rank at least as high as each positive; by falling counts."""
    positive = states == PRESENT
    if ties == "grouped":
        positives = np.sort(values[positive])
        ranked = np.sort(values[states != UNKNOWN])
        hits = len(positives) - np.searchsorted(positives, positives, side="left")
        return hits, len(ranked) - np.searchsorted(ranked, positives, side="left")
    annotated = np.flatnonzero(states != UNKNOWN)
    if ties == "last":
        annotated = annotated[::-1]
    order = annotated[np.argsort(-values[annotated], kind="stable")]
    drawn = np.flatnonzero(positive[order]) + 1
    return np.arange(len(drawn), 0, -1), drawn[::-1]


def _mean_precision(precision: np.ndarray, recall: np.ndarray, interpolation: Interpolation) -> float:
    """The mean of the precision at each positive (P,), given by falling recall."""
    if interpolation == "none":
        return precision.mean()
    highest = np.maximum.accumulate(precision)  # at this recall or any above it
    if interpolation == "area":
        return highest.mean()
    reached = np.searchsorted(recall[::-1], RECALLS - 1e-12)  # recall 1 is always reached
    return highest[::-1][reached].mean()


def _per_label(of_column: Callable[[np.ndarray, np.ndarray], float], scores: Tensor, labels: Tensor) -> Tensor:
    """`of_column` for every column's scores and labels, on all of torch's threads."""
    values, states = _checked(scores, labels)

    def of_block(start: int) -> list[float]:
        columns = np.ascontiguousarray(values[:, start : start + BLOCK].T)
        own = np.ascontiguousarray(states[:, start : start + BLOCK].T)
        return [of_column(*column) for column in zip(columns, own, strict=True)]

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
    if np.isnan(values.sum()) and np.isnan(values).any():  # infinities may also sum to NaN
        raise ValueError("a score is NaN: the model has diverged")
    return values, labels.detach().cpu().numpy()
