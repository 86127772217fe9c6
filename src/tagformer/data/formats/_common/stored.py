"""Encoded images in the rows of a table, which are not files of their own.

Loader processes are forked and read them too, so a source must not share an open file between processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tagformer.data.columns import Column, Rows
from tagformer.files import read_bytes
from tagformer.images.source import Stored


class Source(Protocol):
    """A table with an encoded image in each row. ``str()`` names the table in messages."""

    def encoded(self, row: int) -> bytes:
        """The image in a row, from 0.

        Raises:
            OSError, ValueError: it cannot be read, or the row has none.
        """
        ...


@dataclass(frozen=True)
class Cell:
    """The encoded image in one row of a source; small when pickled for a loader process."""

    source: Source
    row: int

    def read(self) -> bytes:
        return self.source.encoded(self.row)

    def __str__(self) -> str:
        return f"{self.source}, row {self.row + 1}"


class Cells(Column[Stored]):
    """The encoded images of several sources.

    Args:
        sources: the sources.
        which: for each image its source's position in `sources`.
        rows: for each image its row in that source.
    """

    def __init__(self, sources: Sequence[Source], which: Rows, rows: Rows) -> None:
        self._sources = tuple(sources)
        self._which, self._rows = np.asarray(which, dtype=np.int32), np.asarray(rows, dtype=np.int64)

    @classmethod
    def concatenated(cls, sources: Sequence[Source], counts: Sequence[int]) -> Cells:
        """All rows of the sources, one source after the other; `counts` are their numbers of rows."""
        return cls(sources, np.repeat(np.arange(len(counts)), counts), np.concatenate([*map(np.arange, counts)]))

    def __len__(self) -> int:
        return len(self._rows)

    def _item(self, row: int) -> Stored:
        return Cell(self._sources[self._which[row]], int(self._rows[row]))

    def take(self, rows: Rows) -> Cells:
        rows = np.asarray(rows, dtype=np.int64)
        return Cells(self._sources, self._which[rows], self._rows[rows])


def read_cell(data: bytes | None, file: Path | None) -> bytes:
    """The encoded image of a cell: its bytes or, where it has none, the content of the file that it names.

    Raises:
        OSError, ValueError: the file cannot be read, or the cell has neither.
    """
    if data is not None:
        return bytes(data)
    if file is None:
        raise ValueError("the cell is empty")
    try:
        return read_bytes(file)
    except OSError as error:
        raise ValueError(f"it names {file}: {error.strerror or error}") from error
