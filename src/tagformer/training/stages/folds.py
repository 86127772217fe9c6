"""Folds: parts of the training images, so that each image can be predicted by a model that has not seen it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from tagformer.data.copies import find_copies
from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import TagformerError


def draw_folds(dataset: MultiLabelDataset, count: int, seed: int = 0) -> Tensor:
    """The fold of each image, int64 (N,), each between 0 and `count`.

    The folds are of equal size, up to copies of an image: those are in one fold. With fewer different images than folds
    there is a fold for each.

    Args:
        dataset: the training images.
        count: how many folds.
        seed: of the draw.

    Raises:
        TagformerError: all images are copies of one.

    >>> import tagformer
    >>> draw_folds(tagformer.load_dataset("scenes?images=8"), count=4).bincount()
    tensor([2, 2, 2, 2])
    """
    row_of = {image_id: row for row, image_id in enumerate(dataset.ids)}
    copies = [[row_of[image_id] for image_id in ids] for _, ids in find_copies({"train": dataset}).duplicates]
    together = copies + [[row] for row in sorted(set(range(len(dataset))) - set(chain(*copies)))]
    if len(together) < 2:
        raise TagformerError(
            f"{dataset.name}: training in stages needs at least two different images: add images, or train at once "
            "(--set stages=null)."
        )
    return balanced_folds(together, min(count, len(together)), seed)


def balanced_folds(groups: Sequence[Sequence[int]], count: int, seed: int) -> Tensor:
    """The fold of each row, int64 (N,): each group of rows goes, in a random order, to the smallest fold.

    Args:
        groups: every row once.
        count: how many folds.
        seed: of the order.

    >>> folds = balanced_folds([[0, 3], [1], [2]], count=2, seed=0)
    >>> folds.bincount().tolist(), bool(folds[0] == folds[3])
    ([2, 2], True)
    """
    generator = torch.Generator().manual_seed(seed)
    folds = torch.zeros(sum(map(len, groups)), dtype=torch.int64)
    sizes = [0] * count
    order = torch.randperm(len(groups), generator=generator).tolist()
    for number in sorted(order, key=lambda group: -len(groups[group])):  # the sort keeps the random order of equals
        fold = sizes.index(min(sizes))
        folds[list(groups[number])] = fold
        sizes[fold] += len(groups[number])
    return folds
