"""A threshold for each label, chosen on held-out data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN

DEFAULT = 0.5
NEVER = 1.0


@dataclass(frozen=True)
class Thresholds:
    """
    Attributes:
        values: float32 (L,), the probability from which each label counts as predicted.
        undefined: columns of labels with no positive or no negative to choose from; they keep 0.5.
        unreachable: columns of labels that reach the precision asked for at no threshold; theirs is 1.
    """

    values: Tensor
    undefined: tuple[int, ...]
    unreachable: tuple[int, ...]


def tune_thresholds(
    probabilities: Tensor, labels: Tensor, beta: float = 1.0, precision_floor: float | None = None
) -> Thresholds:
    """Choose each label's threshold: the best F-beta, or the highest recall with at least some precision.

    A threshold lies halfway between the lowest probability that it accepts and the highest that it does not, so that
    it does not hang on a rounding error. Of equally good ones the highest is taken.

    Args:
        probabilities: (N, L).
        labels: (N, L) in {1, 0, -1}; entries with -1 are left out.
        beta: how much more recall counts than precision: F-beta = (1 + beta^2) P R / (beta^2 P + R).
        precision_floor: where given, the precision to keep; `beta` then plays no part.

    Raises:
        ValueError: the shapes differ.
    """
    if probabilities.shape != labels.shape or probabilities.ndim != 2:
        raise ValueError(
            f"probabilities {tuple(probabilities.shape)} and labels {tuple(labels.shape)} must both be (N, L)"
        )
    values = np.full(labels.shape[1], DEFAULT, dtype=np.float32)
    undefined, unreachable = [], []
    everything, states = probabilities.detach().float().cpu().numpy(), labels.cpu().numpy()
    for column in range(labels.shape[1]):
        own = states[:, column]
        if not (own == PRESENT).any() or not (own == ABSENT).any():
            undefined.append(column)
            continue
        scores = everything[own != UNKNOWN, column]
        cuts, right, predicted = _cuts(scores, own[own != UNKNOWN] == PRESENT)
        positives = right[-1]
        if precision_floor is None:
            quality = (1 + beta**2) * right / (beta**2 * positives + predicted)
        else:
            quality = np.where(right / predicted >= precision_floor, right / positives, -1.0)
        best = int(quality.argmax())
        if quality[best] <= 0:
            unreachable.append(column)
            values[column] = NEVER
            continue
        below = cuts[best + 1] if best + 1 < len(cuts) else np.float32(0)
        middle = np.float32((cuts[best] + below) / 2)
        values[column] = middle if middle > below else cuts[best]
    return Thresholds(torch.from_numpy(values), tuple(undefined), tuple(unreachable))


def _cuts(scores: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different scores from the highest down, and how many positives and images score at least as much."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return ranked[ends], np.cumsum(present[order])[ends], ends + 1
