"""Confidence intervals of mAP, and of the difference in mAP between taggers, by resampling the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from tagformer.labels.space import PRESENT, UNKNOWN

CHUNK = 4_000_000  # draws that are held in memory at once


@dataclass(frozen=True)
class Interval:
    """A figure and the two ends of its confidence interval, as fractions.

    >>> from tagformer.metrics import Interval
    >>> Interval(value=0.9, low=0.85, high=0.93)
    Interval(value=0.9, low=0.85, high=0.93)
    """

    value: float
    low: float
    high: float


def bootstrap_mAP(  # noqa: N802
    scores: Sequence[Tensor], labels: Tensor, resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """The mAP of each tagger on the same resamples of the images, drawn with replacement.

    Instead of copying images, a resample gives each image a weight: how often it was drawn. Each label's scores are
    then sorted once for all resamples. A label that has no positive in a resample is left out of that resample's mean.
    Equal scores share one rank.

    Args:
        scores: (N, L) for each tagger.
        labels: (N, L) in {1, 0, -1}.
        resamples: the number of resamples.
        seed: seed of the draws.

    Returns:
        float64 (taggers, resamples); NaN where a resample has no positive at all.

    >>> import torch
    >>> from tagformer.metrics import bootstrap_mAP
    >>> scores, labels = torch.tensor([[0.9], [0.8], [0.1]]), torch.tensor([[1], [1], [0]])
    >>> bootstrap_mAP([scores, -scores], labels, resamples=4).shape
    (2, 4)
    """
    images, columns = labels.shape
    generator = np.random.default_rng(seed)
    states = labels.cpu().numpy()
    values_per_tagger = [tagger_scores.detach().float().cpu().numpy() for tagger_scores in scores]
    sums, defined = np.zeros((len(scores), resamples)), np.zeros((len(scores), resamples))
    step = max(1, CHUNK // max(images, 1))
    for start in range(0, resamples, step):
        draws = generator.integers(0, images, (min(step, resamples - start), images))
        weights = np.stack([np.bincount(drawn, minlength=images) for drawn in draws])
        stop = start + len(weights)
        for column in range(columns):
            annotated = np.flatnonzero(states[:, column] != UNKNOWN)
            present = states[annotated, column] == PRESENT
            if not present.any():
                continue
            for tagger, values in enumerate(values_per_tagger):
                precision = _weighted_average_precision(values[annotated, column], present, weights[:, annotated])
                sums[tagger, start:stop] += np.nan_to_num(precision)
                defined[tagger, start:stop] += ~np.isnan(precision)
    with np.errstate(invalid="ignore"):
        return sums / defined


def _weighted_average_precision(scores: np.ndarray, present: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float64 (R,): average precision in each resample, where image n counts `weights[r, n]` times.

    Args:
        scores, present: (N,), of one label.
        weights: (R, N).
    """
    order = np.argsort(-scores, kind="stable")
    ranked, is_positive = scores[order], present[order]
    # For each positive, the place of the last image with the same score: the precision counts all images up to there.
    ends = len(ranked) - 1 - np.searchsorted(ranked[::-1], ranked[is_positive], side="left")
    predicted = np.cumsum(weights[:, order], axis=1)[:, ends]
    positive_weights = weights[:, order[is_positive]]
    last_of_group = np.searchsorted(ends, ends, side="right") - 1  # the last positive with the same score
    true_positives = np.cumsum(positive_weights, axis=1)[:, last_of_group]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = true_positives / predicted
        return (np.where(positive_weights > 0, precision, 0) * positive_weights).sum(1) / positive_weights.sum(1)


def interval(
    value: float,
    resampled: np.ndarray,
    level: float = 0.95,
    lowest: float = -np.inf,
    highest: float = np.inf,
) -> Interval:
    """The basic (reflected) bootstrap interval of a figure (Davison and Hinkley 1997, section 2.4).

    AP on a resample is too high: a positive that is drawn twice ranks as high as itself, and a label whose positives
    are not drawn is left out. So the percentiles of the resamples lie above the figure, for rare labels almost beside
    it. The basic interval reflects them at the figure, 2 value - percentile, which removes this bias. In simulations
    with 60 to 1000 images and 20 to 40 labels, intervals of 95 % contained the population's mAP in 64 to 93 % of the
    cases, percentile intervals in 4 to 55 %, and bias-corrected percentiles (as in BCa) in 29 to 82 %.

    Args:
        value: the figure on the original images. The interval is extended to it in the rare case that it lies outside.
        resampled: (R,), the figure on each resample.
        level: the share of the resamples that lies within the reflected interval.
        lowest, highest: bounds of the figure, at which the interval ends.

    >>> import numpy as np
    >>> from tagformer.metrics import interval
    >>> interval(0.5, np.array([0.4, 0.5, 0.55, 0.6, 0.75]), level=0.5)
    Interval(value=0.5, low=0.4, high=0.5)
    """
    below, above = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    low, high = max(lowest, 2 * value - float(above)), min(highest, 2 * value - float(below))
    return Interval(value, min(low, value), max(high, value))
