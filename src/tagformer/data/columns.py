"""The columns of a data set, in a form that stays small at a million images.

With 1,000,000 images and 500 labels, a Python list of the ids takes 90 MB, and every loader process copies it as soon
as it reads it, because reading changes the reference counts. A dense label matrix takes 500 MB. The columns here hold
the ids in one buffer, about 40 MB, and the labels as a sparse matrix, about 30 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar, overload

import numpy as np

Item = TypeVar("Item")
Rows = Sequence[int] | np.ndarray


class Column(Sequence[Item]):
    """A sequence of which a subset of the rows is again a column of the same class."""

    def take(self, rows: Rows) -> Column[Item]:
        """The items at `rows`, in that order."""
        raise NotImplementedError

    def _item(self, row: int) -> Item:
        """The item at `row`, which is in 0..N-1."""
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
    """Texts as UTF-8 in one buffer, to which more can be appended.

    >>> from tagformer.data.columns import Strings
    >>> ids = Strings(["a.jpg", "b.jpg"])
    >>> ids.append("c.jpg")
    >>> ids[2], list(ids.take([1, 0]))
    ('c.jpg', ['b.jpg', 'a.jpg'])
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._buffer, self._ends = bytearray(), array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add one text at the end."""
        self._buffer += text.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._buffer))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _item(self, row: int) -> str:
        return self._buffer[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogateescape")

    def take(self, rows: Rows) -> Strings:
        return Strings(self._item(row) for row in rows)


class Files(Column[Path]):
    """Paths of files, stored as names relative to one folder; a name may also be an absolute path.

    Attributes:
        folder: what the names are relative to.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self._names = names if isinstance(names, Strings) else Strings(names)

    def __len__(self) -> int:
        return len(self._names)

    def _item(self, row: int) -> Path:
        return self.folder / self._names[row]

    def name(self, row: int) -> str:
        """The name at `row`, as it was written."""
        return self._names[row]

    def take(self, rows: Rows) -> Files:
        return Files(self.folder, self._names.take(rows))


class Origins(Column[str]):
    """Where each record is written, for messages: "my.csv, line 7".

    Args:
        files: the files.
        file_numbers: for each record, the position of its file in `files`.
        numbers: for each record, its number within that file.
        word: the name of what the numbers count.

    >>> from tagformer.data.columns import Origins
    >>> list(Origins(["train.csv", "test.csv"], [0, 0, 1], [2, 3, 2]))
    ['train.csv, line 2', 'train.csv, line 3', 'test.csv, line 2']
    """

    def __init__(self, files: Sequence[Path | str], file_numbers: Rows, numbers: Rows, word: str = "line") -> None:
        self._files, self._word = tuple(files), word
        self._file_numbers = np.asarray(file_numbers, dtype=np.int32)
        self._numbers = np.asarray(numbers, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def _item(self, row: int) -> str:
        return f"{self._files[self._file_numbers[row]]}, {self._word} {self._numbers[row]}"

    def take(self, rows: Rows) -> Origins:
        rows = np.asarray(rows, dtype=np.int64)
        return Origins(self._files, self._file_numbers[rows], self._numbers[rows], self._word)
