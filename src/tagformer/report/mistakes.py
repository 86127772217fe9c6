"""The mistakes of a tagger: labels that it confuses, and the images on which it is most wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tagformer.labels.space import ABSENT, PRESENT


@dataclass(frozen=True)
class Confusion:
    """One label is predicted where it is absent, on images where another label is present.

    Attributes:
        predicted: column of the label that is predicted but absent.
        present: column of the label that is present.
        images: the number of such images.
        share: their share of all images with the present label and without the predicted one.
        missed: on how many of them the present label is not predicted, so the one was taken for the other.

    >>> import torch
    >>> from tagformer.report import confusions
    >>> confusions(torch.tensor([[True, False]]), torch.tensor([[0, 1]]))
    [Confusion(predicted=0, present=1, images=1, share=1.0, missed=1)]
    """

    predicted: int
    present: int
    images: int
    share: float
    missed: int


def confusions(predicted: Tensor, labels: Tensor, count: int = 15) -> list[Confusion]:
    """The most frequent confusions of two labels, by the number of images.

    Args:
        predicted: bool (N, L).
        labels: (N, L) in {1, 0, -1}; entries with -1 are neither present nor absent.
        count: the largest number of confusions to list.

    >>> import torch
    >>> from tagformer.report import confusions
    >>> confusions(torch.tensor([[False, True], [True, False]]), torch.tensor([[1, 0], [1, 0]]))
    [Confusion(predicted=1, present=0, images=1, share=0.5, missed=1)]
    """
    present, absent = (labels == PRESENT).float(), (labels == ABSENT).float()
    wrong = predicted.float() * absent
    # Three matrices (L, L) of numbers of images, indexed by the predicted and the present label.
    images = wrong.T @ present
    possible = absent.T @ present
    missed = wrong.T @ (present * ~predicted)
    most_frequent = images.flatten().argsort(descending=True, stable=True)[:count].tolist()
    pairs = [divmod(place, labels.shape[1]) for place in most_frequent]
    return [
        Confusion(
            predicted=row,
            present=column,
            images=int(images[row, column]),
            share=(images[row, column] / possible[row, column]).item(),
            missed=int(missed[row, column]),
        )
        for row, column in pairs
        if images[row, column] > 0
    ]


def co_occurrence(states: Tensor) -> Tensor:
    """The share of the row label's images that also have the column label.

    Args:
        states: bool (N, L), True where an image has a label.

    Returns:
        float (L, L), 0 in the rows of labels that no image has.

    >>> import torch
    >>> from tagformer.report import co_occurrence
    >>> co_occurrence(torch.tensor([[True, True], [True, False]]))
    tensor([[1.0000, 0.5000],
            [1.0000, 1.0000]])
    """
    present = states.float()
    return present.T @ present / present.sum(0).clamp(min=1).unsqueeze(1)


@dataclass(frozen=True)
class Mistakes:
    """The images with the worst probabilities of one label, as row numbers, worst first.

    Attributes:
        label: column of the label.
        absent: images without the label that have the highest probabilities.
        present: images with the label that have the lowest probabilities.

    >>> import torch
    >>> from tagformer.report import worst_images
    >>> worst_images(torch.tensor([[0.9], [0.1]]), torch.tensor([[0], [1]]), label=0)
    Mistakes(label=0, absent=(0,), present=(1,))
    """

    label: int
    absent: tuple[int, ...]
    present: tuple[int, ...]


def worst_images(probabilities: Tensor, labels: Tensor, label: int, count: int = 4) -> Mistakes:
    """The images on which a label's probability is most wrong.

    Args:
        probabilities, labels: (N, L); images with -1 are left out.
        label: column of the label.
        count: the largest number of images of each kind.

    >>> import torch
    >>> from tagformer.report import worst_images
    >>> probabilities = torch.tensor([[0.9], [0.1], [0.7], [0.2]])
    >>> worst_images(probabilities, torch.tensor([[0], [1], [0], [1]]), label=0, count=1)
    Mistakes(label=0, absent=(0,), present=(1,))
    """
    column = probabilities[:, label]
    absent = torch.nonzero(labels[:, label] == ABSENT).flatten()
    present = torch.nonzero(labels[:, label] == PRESENT).flatten()
    highest_absent = absent[column[absent].argsort(descending=True, stable=True)[:count]]
    lowest_present = present[column[present].argsort(stable=True)[:count]]
    return Mistakes(label, tuple(highest_absent.tolist()), tuple(lowest_present.tolist()))
