"""Accuracy where the labels of a group exclude each other, such as CUB's classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tagformer.labels.space import PRESENT, UNKNOWN


def group_accuracy(logits: Tensor, labels: Tensor, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Top-1 accuracy of each group: the share of images whose highest label in the group is the present one.

    Args:
        logits: (N, L), or any other monotone score; of equal scores the first column counts as the highest.
        labels: (N, L) in {1, 0, -1}; images that are not annotated for the whole group are left out.
        groups: group name -> columns.

    Returns:
        Fractions in [0, 1], only for groups of two or more labels of which every annotated image has exactly one.

    Raises:
        ValueError: the shapes differ.

    >>> import torch
    >>> from tagformer.metrics import group_accuracy
    >>> logits = torch.tensor([[2.0, 1.0], [2.0, 1.0]])
    >>> group_accuracy(logits, torch.tensor([[1, 0], [0, 1]]), {"class": (0, 1)})
    {'class': 0.5}
    """
    if logits.shape != labels.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} must both be (N, L)")
    accuracies = {}
    for name, columns in groups.items():
        group_labels = labels[:, list(columns)]
        annotated = (group_labels != UNKNOWN).all(1)
        present = group_labels[annotated] == PRESENT
        if len(columns) > 1 and len(present) and bool((present.sum(1) == 1).all()):
            highest = logits[annotated][:, list(columns)].argmax(1)
            accuracies[name] = present[torch.arange(len(present)), highest].double().mean().item()
    return accuracies
