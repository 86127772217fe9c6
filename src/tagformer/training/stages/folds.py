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


def folds_seen(count: int) -> Tensor:
    """Which of K folds each of K heads sees, bool (K, K): all but two, or all but one where there are fewer than five.

    Two heads have not seen an image then, and their mean resembles that of all heads, by which new images are scored.

    >>> folds_seen(3).int()
    tensor([[0, 1, 1],
            [1, 0, 1],
            [1, 1, 0]], dtype=torch.int32)
    """
    seen = ~torch.eye(count, dtype=torch.bool)
    return seen if count < 5 else seen & seen.roll(1, dims=1)


def without_held_out(count: int, held_out: int = 0) -> Tensor:
    """Which of K folds some more heads see, bool (M, K): all but the held-out fold and one that is not next to it.

    There are two of them from six folds on, one for five, and none below. With the heads of `folds_seen` four have not
    seen the held-out fold: the whole network starts from these, and four heads are better than two.

    >>> without_held_out(6).int()
    tensor([[0, 1, 0, 1, 1, 1],
            [0, 1, 1, 1, 0, 1]], dtype=torch.int32)
    """
    others = list(range(2, count - 1, 2))[:2] if count >= 5 else []
    seen = torch.ones(len(others), count, dtype=torch.bool)
    seen[:, held_out] = False
    for row, other in enumerate(others):
        seen[row, (held_out + other) % count] = False
    return seen


def heads_seen(count: int, held_out: int = 0) -> Tensor:
    """Which of K folds each head of a run sees, bool (H, K): `folds_seen`, and `without_held_out` below.

    >>> heads_seen(8).shape
    torch.Size([10, 8])
    """
    return torch.cat([folds_seen(count), without_held_out(count, held_out)])
