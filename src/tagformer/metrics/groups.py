"""Accuracy where the labels of a group exclude each other, such as CUB's classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tagformer.labels.space import PRESENT, UNKNOWN


def group_accuracy(logits: Tensor, labels: Tensor, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """For each group how often its highest label is the present one (top-1 accuracy, a fraction in [0, 1]).

    Args:
        logits: (N, L), any monotone score; of equal ones the first column counts as the highest.
        labels: (N, L) in {1, 0, -1}; images that are not annotated for the whole group are left out.
        groups: name -> columns.

    Returns:
        Only the groups of two or more labels of which every annotated image has exactly one.

    Raises:
        ValueError: the shapes differ.
    """
    if logits.shape != labels.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} must both be (N, L)")
    found = {}
    for name, columns in groups.items():
        own = labels[:, list(columns)]
        annotated = (own != UNKNOWN).all(1)
        present = own[annotated] == PRESENT
        if len(columns) > 1 and len(present) and bool((present.sum(1) == 1).all()):
            highest = logits[annotated][:, list(columns)].argmax(1)
            found[name] = present[torch.arange(len(present)), highest].double().mean().item()
    return found
