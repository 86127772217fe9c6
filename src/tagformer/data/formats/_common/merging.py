"""Long tables, with one row per label: the rows of an image become one."""

from __future__ import annotations

import numpy as np

from tagformer.data.columns import Strings
from tagformer.data.sparse_rows import SparseRows
from tagformer.labels.space import ABSENT


def first_rows(ids: Strings) -> np.ndarray | None:
    """int64 (N,): for each row, the first row with the same id; None where all ids differ."""
    hashes = np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))
    hashes.sort()  # in place; np.unique takes 60 MB for a million rows
    if not (hashes[1:] == hashes[:-1]).any():
        return None
    del hashes
    first: dict[str, int] = {}
    rows = np.fromiter(
        (first.setdefault(image_id, row) for row, image_id in enumerate(ids)), dtype=np.int64, count=len(ids)
    )
    return rows if len(first) < len(ids) else None


def merge_rows(labels: SparseRows, first: np.ndarray) -> SparseRows:
    """The labels of each image: those that any of its rows names as present.

    Args:
        labels: (N, L), each row with the present labels of a list of tags.
        first: int64 (N,), for each row the first row of the same image.

    Returns:
        One row for each distinct value of `first`, in ascending order.

    >>> import torch
    >>> rows = SparseRows.of([({0: 1}, 0), ({}, -1), ({1: 1}, 0)], width=2)
    >>> merge_rows(rows, np.array([0, 1, 0])).dense()
    tensor([[ 1,  1],
            [-1, -1]], dtype=torch.int8)
    """
    images, image_of_row = np.unique(first, return_inverse=True)
    rows, columns, values, default = labels.entries()
    keys, chosen = np.unique(image_of_row[rows] * np.int64(labels.width) + columns, return_index=True)
    states = np.full(len(images), default.min(), dtype=np.int8)
    states[image_of_row[default == ABSENT]] = ABSENT
    counts = np.bincount(keys // labels.width, minlength=len(images))
    starts = np.concatenate([[0], counts.cumsum()])
    return SparseRows(labels.width, starts, columns[chosen], values[chosen], states)
