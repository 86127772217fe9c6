"""The labels of a data set as a sparse matrix: of each row only what differs from the row's default state is stored."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tagformer.data.columns import Rows

BLOCK = 8192  # rows made dense at a time


class SparseRows:
    """An int8 (N, L) matrix that stores, for each row, a default value and the entries that differ from it.

    An image with 3 of 500 labels present has the default 0 and three entries with the value 1. An image of which only
    3 labels are annotated has the default -1 and three entries with their states. This is a CSR matrix, except that a
    missing entry is not 0 but the default of its row. For example, ``[[0, 1, 0, 0], [-1, -1, -1, 0]]`` has the defaults
    0 and -1, the columns 1 and 3, and the values 1 and 0.

    Index it with a row, a slice or several rows to get them dense: ``rows[[3, 5]]`` is an int8 tensor (2, L).

    Args:
        width: the number of columns, L.
        starts: (N + 1,), entry number `starts[n]` is the first of row n.
        columns, values: for each entry, its column and its value.
        default: (N,), the value of all other columns of a row.

    >>> import torch
    >>> from tagformer.data.sparse_rows import SparseRows
    >>> rows = SparseRows.from_dense(torch.tensor([[0, 1, 0, 0], [-1, -1, -1, 0]], dtype=torch.int8))
    >>> rows[1], rows.count(1)
    (tensor([-1, -1, -1,  0], dtype=torch.int8), tensor([0, 1, 0, 0]))
    """

    def __init__(
        self, width: int, starts: np.ndarray, columns: np.ndarray, values: np.ndarray, default: np.ndarray
    ) -> None:
        self.width = width
        self._starts, self._columns, self._values, self._default = starts, columns, values, default

    @classmethod
    def of(cls, rows: Iterable[tuple[Mapping[int, int], int]], width: int) -> SparseRows:
        """From a pair for each row: column -> value, and the default of the other columns."""
        builder = RowsBuilder()
        for values, default in rows:
            builder.add(values, default)
        return builder.build(width)

    @classmethod
    def from_dense(cls, dense: Tensor) -> SparseRows:
        """From an int8 tensor (N, L); the default of a row is its most frequent value."""
        parts = []
        for start in range(0, len(dense), BLOCK):
            block = dense[start : start + BLOCK].numpy()
            distinct = np.unique(block)
            counts = np.stack([(block == value).sum(axis=1) for value in distinct], axis=1)
            default = distinct[counts.argmax(axis=1)].astype(np.int8)
            differs = block != default[:, None]
            starts = np.concatenate([[0], differs.sum(axis=1).cumsum()])
            columns = np.nonzero(differs)[1].astype(np.int32)
            parts.append(cls(dense.shape[1], starts, columns, block[differs].astype(np.int8), default))
        return cls.concatenated(parts) if parts else RowsBuilder().build(dense.shape[1])

    @classmethod
    def concatenated(cls, parts: Sequence[SparseRows]) -> SparseRows:
        """The rows of several matrices of the same width, one matrix below the other."""
        counts = np.concatenate([np.diff(part._starts) for part in parts])
        return cls(
            parts[0].width,
            np.concatenate([[0], counts.cumsum()]),
            np.concatenate([part._columns for part in parts]),
            np.concatenate([part._values for part in parts]),
            np.concatenate([part._default for part in parts]),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return len(self), self.width

    def __len__(self) -> int:
        return len(self._default)

    def __getitem__(self, rows: int | slice | Rows | Tensor) -> Tensor:
        if isinstance(rows, int):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"row {rows} of {len(self)}")
            return self[[rows % len(self)]][0]
        if isinstance(rows, slice):
            rows = range(*rows.indices(len(self)))
        rows = np.asarray(rows, dtype=np.int64)
        entries, counts = self._entries(rows)
        dense = np.repeat(self._default[rows][:, None], self.width, axis=1)
        dense[np.repeat(np.arange(len(rows)), counts), self._columns[entries]] = self._values[entries]
        return torch.from_numpy(dense)

    def _entries(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the entries of `rows`, one row after the other, and how many each row has."""
        starts, counts = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        before = counts.cumsum() - counts
        return np.repeat(starts - before, counts) + np.arange(counts.sum()), counts

    def dense(self) -> Tensor:
        """The whole matrix as an int8 tensor (N, L)."""
        return self[:]

    def blocks(self) -> Iterator[Tensor]:
        """All rows as dense tensors, some thousand rows at a time."""
        for start in range(0, len(self), BLOCK):
            yield self[start : start + BLOCK]

    def take(self, rows: Rows) -> SparseRows:
        """The matrix of the given rows, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        entries, counts = self._entries(rows)
        starts = np.concatenate([[0], counts.cumsum()])
        return SparseRows(self.width, starts, self._columns[entries], self._values[entries], self._default[rows])

    def count(self, value: int) -> Tensor:
        """int64 (L,): for each column, the number of rows that have `value` in it."""
        by_default = self._default == value
        exceptions = np.bincount(self._columns[np.repeat(by_default, np.diff(self._starts))], minlength=self.width)
        by_entry = np.bincount(self._columns[self._values == value], minlength=self.width)
        return torch.from_numpy(int(by_default.sum()) - exceptions + by_entry)

    def count_by_row(self, value: int) -> Tensor:
        """int64 (N,): for each row, the number of columns that have `value`."""
        counts = np.diff(self._starts)
        rows = np.repeat(np.arange(len(self)), counts)
        by_entry = np.bincount(rows[self._values == value], minlength=len(self))
        by_default = np.where(self._default == value, self.width - counts, 0)
        return torch.from_numpy(by_default + by_entry)

    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The row, the column and the value of each entry, and the default of each row.

        >>> import torch
        >>> rows = SparseRows.from_dense(torch.tensor([[0, 1, 0], [-1, -1, 0]], dtype=torch.int8))
        >>> [values.tolist() for values in rows.entries()]
        [[0, 1], [1, 2], [1, 0], [0, -1]]
        """
        rows = np.repeat(np.arange(len(self)), np.diff(self._starts))
        return rows, self._columns, self._values, self._default

    def present_together(self, value: int = 1) -> Tensor:
        """int64 (L, L): the number of rows in which two columns both have `value`."""
        together = torch.zeros(self.width, self.width, dtype=torch.int64)
        for block in self.blocks():
            has = (block == value).float()
            together += (has.T @ has).long()
        return together


class RowsBuilder:
    """Collect the rows of a `SparseRows` one at a time, while the number of columns may still grow.

    >>> from tagformer.data.sparse_rows import RowsBuilder
    >>> builder = RowsBuilder()
    >>> builder.add({1: 1}, default=0)
    >>> builder.add({3: 0}, default=-1)
    >>> builder.build(width=4).dense().tolist()
    [[0, 1, 0, 0], [-1, -1, -1, 0]]
    """

    def __init__(self) -> None:
        self._starts, self._columns, self._values = array("q", [0]), array("i"), array("b")
        self._default = array("b")

    def __len__(self) -> int:
        return len(self._default)

    def add(self, values: Mapping[int, int], default: int) -> None:
        """Add a row: column -> value, and the value of all other columns."""
        for column, value in values.items():
            if value != default:
                self._columns.append(column)
                self._values.append(value)
        self._starts.append(len(self._columns))
        self._default.append(default)

    def build(self, width: int, places: Sequence[int] | None = None) -> SparseRows:
        """The matrix of the added rows.

        Args:
            width: the number of columns.
            places: column c of the added rows becomes column places[c]; None: columns keep their numbers.
        """
        columns = np.array(self._columns)
        if places is not None:
            columns = np.asarray(places, dtype=np.int32)[columns]
        return SparseRows(width, np.array(self._starts), columns, np.array(self._values), np.array(self._default))
