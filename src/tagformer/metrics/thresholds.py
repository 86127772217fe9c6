"""Thresholds per label, chosen on held-out data."""

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
    """The thresholds that `tune_thresholds` chose.

    Attributes:
        values: float32 (L,), the probability from which each label counts as predicted.
        undefined: columns of labels without a positive or without a negative to choose by; they keep 0.5.
        unreachable: columns of labels that do not reach the required precision at any threshold; they get 1.

    >>> import torch
    >>> from tagformer.metrics import tune_thresholds
    >>> thresholds = tune_thresholds(torch.tensor([[0.2, 0.1], [0.6, 0.3]]), torch.tensor([[0, 0], [1, 0]]))
    >>> thresholds.values, thresholds.undefined
    (tensor([0.4000, 0.5000]), (1,))
    """

    values: Tensor
    undefined: tuple[int, ...]
    unreachable: tuple[int, ...]


def tune_thresholds(
    probabilities: Tensor, labels: Tensor, beta: float = 1.0, precision_floor: float | None = None
) -> Thresholds:
    """Choose each label's threshold: for the best F-beta, or for the highest recall with a required precision.

    A threshold lies halfway between the lowest accepted and the highest rejected probability, so rounding errors do not
    change decisions. Of equally good thresholds the highest is chosen.

    Args:
        probabilities: (N, L).
        labels: (N, L) in {1, 0, -1}; entries with -1 are left out.
        beta: weight of recall against precision: F-beta = (1 + beta^2) P R / (beta^2 P + R).
        precision_floor: the required precision; `beta` is then not used.

    Raises:
        ValueError: the shapes differ.

    >>> import torch
    >>> from tagformer.metrics import tune_thresholds
    >>> probabilities = torch.tensor([[0.9], [0.8], [0.4], [0.1]])
    >>> tune_thresholds(probabilities, torch.tensor([[1], [1], [0], [0]])).values
    tensor([0.6000])
    """
    if probabilities.shape != labels.shape or probabilities.ndim != 2:
        raise ValueError(
            f"probabilities {tuple(probabilities.shape)} and labels {tuple(labels.shape)} must both be (N, L)"
        )
    values = np.full(labels.shape[1], DEFAULT, dtype=np.float32)
    undefined, unreachable = [], []
    all_scores, all_states = probabilities.detach().float().cpu().numpy(), labels.cpu().numpy()
    for column in range(labels.shape[1]):
        states = all_states[:, column]
        if not (states == PRESENT).any() or not (states == ABSENT).any():
            undefined.append(column)
            continue
        annotated = states != UNKNOWN
        cuts, right, predicted = _cuts(all_scores[annotated, column], states[annotated] == PRESENT)
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
        values[column] = middle if middle > below else cuts[best]  # rounding may have moved it down to `below`
    return Thresholds(torch.from_numpy(values), tuple(undefined), tuple(unreachable))


def _cuts(scores: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct scores from high to low, and the numbers of positives and of images that score at least as high."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return ranked[ends], np.cumsum(present[order])[ends], ends + 1
