"""Where a tagger fails: labels that it takes for one another, and the images on which it is most wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tagformer.labels.space import ABSENT, PRESENT


@dataclass(frozen=True)
class Confusion:
    """A label predicted where it is absent and another is present.

    Attributes:
        predicted, present: the labels' columns.
        images: how many images show it.
        share: of the images with the present label and without the predicted one.
        missed: how many of them also miss the present label: one was taken for the other.
    """

    predicted: int
    present: int
    images: int
    share: float
    missed: int


def confusions(predicted: Tensor, labels: Tensor, count: int = 15) -> list[Confusion]:
    """The most frequent confusions, by the number of images.

    Args:
        predicted: bool (N, L).
        labels: (N, L) in {1, 0, -1}; entries with -1 are neither present nor absent.
    """
    present, absent = (labels == PRESENT).float(), (labels == ABSENT).float()
    wrong = predicted.float() * absent
    images = wrong.T @ present  # [predicted, present]
    possible = absent.T @ present
    missed = wrong.T @ (present * ~predicted)
    best = images.flatten().argsort(descending=True, stable=True)[:count].tolist()
    width = labels.shape[1]
    return [
        Confusion(
            row := place // width,
            column := place % width,
            int(images[row, column]),
            (images[row, column] / possible[row, column]).item(),
            int(missed[row, column]),
        )
        for place in best
        if images.flatten()[place] > 0
    ]


def co_occurrence(states: Tensor) -> Tensor:
    """float (L, L): of the images where the row's label holds, the share where the column's does too.

    Args:
        states: bool (N, L).

    Returns:
        0 in the rows of labels that hold nowhere.
    """
    held = states.float()
    return held.T @ held / held.sum(0).clamp(min=1).unsqueeze(1)


@dataclass(frozen=True)
class Mistakes:
    """The images on which one label is most wrong, by their rows, worst first.

    Attributes:
        label: its column.
        surest: where it is absent and gets the highest probability.
        missed: where it is present and gets the lowest.
    """

    label: int
    surest: tuple[int, ...]
    missed: tuple[int, ...]


def worst_images(probabilities: Tensor, labels: Tensor, label: int, count: int = 4) -> Mistakes:
    """The most confident wrong images of a label.

    Args:
        probabilities, labels: (N, L); images with -1 are left out.
    """
    own = probabilities[:, label]
    rows = {state: torch.nonzero(labels[:, label] == state).flatten() for state in (ABSENT, PRESENT)}
    surest = rows[ABSENT][own[rows[ABSENT]].argsort(descending=True, stable=True)[:count]]
    missed = rows[PRESENT][own[rows[PRESENT]].argsort(stable=True)[:count]]
    return Mistakes(label, tuple(surest.tolist()), tuple(missed.tolist()))
