"""Which images the grid shows, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tagformer.errors import check_choice
from tagformer.labels.space import PRESENT
from tagformer.serve.workspace.workspace import Workspace

STATES = ("any", "open", "unknown", "yes", "no", "disagreement")
SORTS = ("queue", "certain", "uncertain", "probability")
DIVERSE = 200  # images that are chosen to be different from each other; the others follow by certainty

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Filter:
    """What is shown.

    Attributes:
        label: to which state, probability and order refer; None: to all labels.
        state: one of STATES.
        least, most: of the label's probability.
        sort: one of SORTS.

    Raises:
        TagformerError: another state or order.
    """

    label: int | None = None
    state: str = "any"
    least: float = 0.0
    most: float = 1.0
    sort: str = "queue"

    def __post_init__(self) -> None:
        check_choice("state", self.state, STATES)
        check_choice("sort", self.sort, SORTS)


def ordered(workspace: Workspace, wanted: Filter) -> list[int]:
    """The images of a filter in its order, by number."""
    probabilities = workspace.looking.probabilities.astype(np.float32)
    thresholds = workspace.engine.model.tagger.thresholds.numpy()
    states = workspace.states()
    submitted = workspace.store.submitted()
    rows = [number for number in range(len(probabilities)) if number not in workspace.looking.problems]
    label = wanted.label
    if wanted.state == "open":
        rows = [number for number in rows if workspace.pictures[number].id not in submitted]
    elif label is not None and wanted.state in ("unknown", "yes", "no"):
        state = {"unknown": None, "yes": 1, "no": 0}[wanted.state]
        rows = [number for number in rows if states.get(number, {}).get(label) == state]
    elif label is not None and wanted.state == "disagreement":
        rows = [n for n in rows if _disagrees(states.get(n, {}).get(label), probabilities[n, label], thresholds[label])]
    if label is not None and (wanted.least > 0 or wanted.most < 1):
        rows = [n for n in rows if wanted.least <= probabilities[n, label] <= wanted.most]
    if wanted.sort == "queue" or not rows:
        return rows
    return [rows[place] for place in _order(probabilities[rows], thresholds, label, wanted.sort)]


def _disagrees(state: int | None, probability: float, threshold: float) -> bool:
    return state is not None and not np.isnan(probability) and (state == PRESENT) != (probability >= threshold)


def _order(probabilities: Array, thresholds: Array, label: int | None, sort: str) -> list[int]:
    """Rows of probabilities (N, L) in an order; rows that were not looked at come last."""
    if sort == "probability" and label is not None:
        return np.argsort(-np.nan_to_num(probabilities[:, label], nan=-1.0), kind="stable").tolist()
    certainty = _certainty(probabilities if label is None else probabilities[:, [label]])
    if sort == "uncertain":
        return np.argsort(np.where(np.isnan(certainty), 2.0, certainty), kind="stable").tolist()
    return certain_and_different(certainty, probabilities)


def _certainty(probabilities: Array) -> Array:
    """How sure the model is of an image: 0 where a probability is one half, 1 where all are 0 or 1; the mean."""
    return np.abs(2 * probabilities - 1).mean(1)


def certain_and_different(certainty: Array, probabilities: Array) -> list[int]:
    """The images of which the model is sure and which differ from those before them.

    Each next one has the largest product of its certainty and its distance from the nearest one that was chosen before.

    Args:
        certainty: (N,) from 0 to 1; NaN for images that were not looked at.
        probabilities: (N, L); two images are alike where theirs are.

    >>> certainty, probabilities = np.array([0.9, 0.9, 0.5]), np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> certain_and_different(certainty, probabilities)  # the second one is like the first
    [0, 2, 1]
    """
    value = np.nan_to_num(certainty, nan=0.0).astype(np.float32)
    rows = np.nan_to_num(probabilities).astype(np.float32)
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    chosen: list[int] = []
    left = np.ones(len(rows), dtype=bool)
    for _ in range(min(DIVERSE, len(rows))):
        distance = np.where(np.isinf(nearest), 1.0, nearest)
        best = int(np.where(left, value * (distance + 1e-6), -1.0).argmax())
        chosen.append(best)
        left[best] = False
        nearest = np.minimum(nearest, np.abs(rows - rows[best]).max(1))
    rest = np.flatnonzero(left)
    return chosen + rest[np.argsort(-value[rest], kind="stable")].tolist()


def tops(probabilities: Array, thresholds: Array, count: int) -> list[tuple[int, float]]:
    """The predicted labels of an image, the most probable first.

    Args:
        probabilities: (L,), NaN where the image was not looked at.
        thresholds: (L,).
        count: how many at most.

    >>> tops(np.array([0.2, 0.9, 0.6]), np.array([0.5, 0.5, 0.5]), 2)
    [(1, 0.9), (2, 0.6)]
    """
    predicted = np.flatnonzero(probabilities >= thresholds)
    order = predicted[np.argsort(-probabilities[predicted], kind="stable")][:count]
    return [(int(label), round(float(probabilities[label]), 4)) for label in order]
