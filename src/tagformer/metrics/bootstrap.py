"""Confidence intervals of mAP, and of the difference between two taggers, by resampling the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from tagformer.labels.space import PRESENT, UNKNOWN

CHUNK = 4_000_000  # counts held at once


@dataclass(frozen=True)
class Interval:
    """A figure and its confidence interval, as fractions."""

    value: float
    low: float
    high: float


def bootstrap_mAP(  # noqa: N802
    scores: Sequence[Tensor], labels: Tensor, resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """mAP of each tagger on the same resamples of the images, drawn with replacement.

    A label that a resample has no positive of is left out of that resample's mean. Equal scores are one rank.

    Args:
        scores: for each tagger (N, L).
        labels: (N, L) in {1, 0, -1}.
        resamples: how many.
        seed: of the draws.

    Returns:
        float64 (taggers, resamples); NaN where a resample has no positive at all.
    """
    count, columns = labels.shape
    draws = np.random.default_rng(seed)
    states = labels.cpu().numpy()
    values = [each.detach().float().cpu().numpy() for each in scores]
    sums, defined = np.zeros((len(values), resamples)), np.zeros((len(values), resamples))
    step = max(1, CHUNK // max(count, 1))
    for start in range(0, resamples, step):
        drawn = draws.integers(0, count, (min(step, resamples - start), count))
        weights = np.stack([np.bincount(row, minlength=count) for row in drawn])
        stop = start + len(weights)
        for column in range(columns):
            annotated = np.flatnonzero(states[:, column] != UNKNOWN)
            present = states[annotated, column] == PRESENT
            if not present.any():
                continue
            for tagger, each in enumerate(values):
                precision = _weighted_average_precision(each[annotated, column], present, weights[:, annotated])
                sums[tagger, start:stop] += np.nan_to_num(precision)
                defined[tagger, start:stop] += ~np.isnan(precision)
    with np.errstate(invalid="ignore"):
        return sums / defined


def _weighted_average_precision(scores: np.ndarray, present: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float64 (R,): average precision with each image (N,) counted as often as `weights` (R, N) says."""
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], present[order]
    # The last image of each positive's group of equal scores: what ranks at least as high ends there.
    ends = len(ranked) - 1 - np.searchsorted(ranked[::-1], ranked[hit], side="left")
    drawn = np.cumsum(weights[:, order], axis=1)[:, ends]
    own = weights[:, order[hit]]
    hits = np.cumsum(own, axis=1)
    last = np.searchsorted(ends, ends, side="right") - 1  # the last positive of the same group
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = hits[:, last] / drawn
        return (np.where(own > 0, precision, 0) * own).sum(1) / own.sum(1)


def interval(value: float, resampled: np.ndarray, level: float = 0.95) -> Interval:
    """The percentile interval of a figure from its resamples (R,)."""
    low, high = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
