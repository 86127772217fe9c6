"""Columns that stay small at a million images: texts in one buffer, labels by where they differ from their row's rest.

A Python list of a million strings takes 90 MB, is copied into every loader process as soon as it is looked at, and a
dense table of 500 labels takes 500 MB. These columns take 40 and about 30.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
import torch
from torch import Tensor

Item = TypeVar("Item")
Rows = Sequence[int] | np.ndarray
BLOCK = 8192  # rows made dense at a time


class Column(Sequence[Item]):
    """A sequence that can give some of its rows in its own form."""

    def take(self, rows: Rows) -> Column[Item]:
        """The items at `rows`, in that order."""
        raise NotImplementedError

    def _item(self, row: int) -> Item:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Column[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Column[Item]:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        return self._item(index % len(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def take(column: Sequence[Item], rows: Rows) -> Sequence[Item]:
    """The items of any sequence at `rows`, in that order."""
    return column.take(rows) if isinstance(column, Column) else [column[int(row)] for row in rows]


class Strings(Column[str]):
    """Texts as UTF-8 in one buffer, which can be appended to."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._buffer, self._ends = bytearray(), array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        self._buffer += text.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._buffer))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _item(self, row: int) -> str:
        return self._buffer[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogateescape")

    def take(self, rows: Rows) -> Strings:
        return Strings(self._item(row) for row in rows)


class Files(Column[Path]):
    """Paths in one folder; a name may itself be a path below it, or an absolute one."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder = folder
        self._names = names if isinstance(names, Strings) else Strings(names)

    def __len__(self) -> int:
        return len(self._names)

    def _item(self, row: int) -> Path:
        return self._folder / self._names[row]

    def take(self, rows: Rows) -> Files:
        return Files(self._folder, self._names.take(rows))


class Origins(Column[str]):
    """Where each record was written: "my.csv, line 7".

    Args:
        files: the files.
        which: for each record its file's position in `files`.
        numbers: for each record its number in that file.
        word: what the numbers count.
    """

    def __init__(self, files: Sequence[Path | str], which: Rows, numbers: Rows, word: str = "line") -> None:
        self._files, self._word = tuple(files), word
        self._which, self._numbers = np.asarray(which, dtype=np.int32), np.asarray(numbers, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def _item(self, row: int) -> str:
        return f"{self._files[self._which[row]]}, {self._word} {self._numbers[row]}"

    def take(self, rows: Rows) -> Origins:
        rows = np.asarray(rows, dtype=np.int64)
        return Origins(self._files, self._which[rows], self._numbers[rows], self._word)


class SparseRows:
    """An int8 (N, L) matrix; of each row only the entries are kept that differ from the value of its rest.

    Index it with a row, a slice or several rows to get them dense: ``rows[[3, 5]]`` is an int8 tensor (2, L).
    """

    def __init__(
        self, width: int, starts: np.ndarray, columns: np.ndarray, values: np.ndarray, rest: np.ndarray
    ) -> None:
        self.width = width
        self._starts, self._columns, self._values, self._rest = starts, columns, values, rest

    @classmethod
    def of(cls, rows: Iterable[tuple[Mapping[int, int], int]], width: int) -> SparseRows:
        """From (column -> value, value of the row's other columns) for each row."""
        builder = RowsBuilder()
        for values, rest in rows:
            builder.add(values, rest)
        return builder.build(width)

    @classmethod
    def from_dense(cls, dense: Tensor) -> SparseRows:
        """From an int8 tensor (N, L); the rest of a row is its commonest value."""
        parts = []
        for start in range(0, len(dense), BLOCK):
            block = dense[start : start + BLOCK].numpy()
            found = np.unique(block)
            counts = np.stack([(block == value).sum(axis=1) for value in found], axis=1)
            rest = found[counts.argmax(axis=1)].astype(np.int8)
            differs = block != rest[:, None]
            starts = np.concatenate([[0], differs.sum(axis=1).cumsum()])
            columns = np.nonzero(differs)[1].astype(np.int32)
            parts.append(cls(dense.shape[1], starts, columns, block[differs].astype(np.int8), rest))
        return cls.concatenated(parts) if parts else RowsBuilder().build(dense.shape[1])

    @classmethod
    def concatenated(cls, parts: Sequence[SparseRows]) -> SparseRows:
        """The rows of several matrices of one width, one below the other."""
        counts = np.concatenate([np.diff(part._starts) for part in parts])
        columns, values, rest = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("_columns", "_values", "_rest")
        )
        return cls(parts[0].width, np.concatenate([[0], counts.cumsum()]), columns, values, rest)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.width

    def __len__(self) -> int:
        return len(self._rest)

    def __getitem__(self, rows: int | slice | Rows | Tensor) -> Tensor:
        if isinstance(rows, int):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"row {rows} of {len(self)}")
            return self[[rows % len(self)]][0]
        if isinstance(rows, slice):
            rows = range(*rows.indices(len(self)))
        rows = np.asarray(rows, dtype=np.int64)
        entries, counts = self._entries(rows)
        dense = np.repeat(self._rest[rows][:, None], self.width, axis=1)
        dense[np.repeat(np.arange(len(rows)), counts), self._columns[entries]] = self._values[entries]
        return torch.from_numpy(dense)

    def _entries(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the kept entries of `rows`, and how many each row has."""
        starts, counts = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        before = counts.cumsum() - counts
        return np.repeat(starts - before, counts) + np.arange(counts.sum()), counts

    def dense(self) -> Tensor:
        """int8 (N, L), made anew."""
        return self[:]

    def blocks(self) -> Iterator[Tensor]:
        """All rows dense, some thousand at a time."""
        for start in range(0, len(self), BLOCK):
            yield self[start : start + BLOCK]

    def take(self, rows: Rows) -> SparseRows:
        """The matrix of the given rows, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        entries, counts = self._entries(rows)
        starts = np.concatenate([[0], counts.cumsum()])
        return SparseRows(self.width, starts, self._columns[entries], self._values[entries], self._rest[rows])

    def count(self, value: int) -> Tensor:
        """int64 (L,): for each column how many rows have `value`."""
        resting = self._rest == value
        differing = np.bincount(self._columns[np.repeat(resting, np.diff(self._starts))], minlength=self.width)
        written = np.bincount(self._columns[self._values == value], minlength=self.width)
        return torch.from_numpy(int(resting.sum()) - differing + written)

    def count_by_row(self, value: int) -> Tensor:
        """int64 (N,): for each row how many columns have `value`."""
        counts = np.diff(self._starts)
        rows = np.repeat(np.arange(len(self)), counts)
        written = np.bincount(rows[self._values == value], minlength=len(self))
        return torch.from_numpy(np.where(self._rest == value, self.width - counts, 0) + written)

    def present_together(self, value: int = 1) -> Tensor:
        """int64 (L, L): in how many rows two columns both have `value`."""
        together = torch.zeros(self.width, self.width, dtype=torch.int64)
        for block in self.blocks():
            has = (block == value).float()
            together += (has.T @ has).long()
        return together


class RowsBuilder:
    """Collects the rows of a `SparseRows` one at a time; later rows may have columns that earlier ones did not."""

    def __init__(self) -> None:
        self._ends, self._columns, self._values, self._rest = array("q", [0]), array("i"), array("b"), array("b")

    def __len__(self) -> int:
        return len(self._rest)

    def add(self, values: Mapping[int, int], rest: int) -> None:
        """One row: column -> value, and the value of all other columns."""
        for column, value in values.items():
            if value != rest:
                self._columns.append(column)
                self._values.append(value)
        self._ends.append(len(self._columns))
        self._rest.append(rest)

    def build(self, width: int, places: Sequence[int] | None = None) -> SparseRows:
        """The matrix with `width` columns; with `places`, column c of the added rows goes to column places[c]."""
        columns = np.array(self._columns)
        if places is not None:
            columns = np.asarray(places, dtype=np.int32)[columns]
        return SparseRows(width, np.array(self._ends), columns, np.array(self._values), np.array(self._rest))
