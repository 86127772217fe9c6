"""Encoded images that are no files of their own: rows of Parquet files and the like, members of tars.

They are read in forked loader processes too, so no open file is shared between two.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tagformer.data.columns import Column, Rows, Strings
from tagformer.images.source import Stored

HELD = 16  # images of a Parquet file that are in memory at a time


class Source(Protocol):
    """Something that holds encoded images by row, from 0. ``str()`` says where it is."""

    def encoded(self, row: int) -> bytes:
        """The image in a row.

        Raises:
            OSError, ValueError: it cannot be read, or the row has none.
        """
        ...


@dataclass(frozen=True)
class Cell:
    """The encoded image in one row; small when it is sent to a loader process."""

    source: Source
    row: int

    def read(self) -> bytes:
        return self.source.encoded(self.row)

    def __str__(self) -> str:
        return f"{self.source}, row {self.row + 1}"


class Cells(Column[Stored]):
    """Encoded images in several sources: for each the position of its source, and its row in it."""

    def __init__(self, sources: Sequence[Source], which: Rows, rows: Rows) -> None:
        self._sources = tuple(sources)
        self._which, self._rows = np.asarray(which, dtype=np.int32), np.asarray(rows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def _item(self, row: int) -> Stored:
        return Cell(self._sources[self._which[row]], int(self._rows[row]))

    def take(self, rows: Rows) -> Cells:
        rows = np.asarray(rows, dtype=np.int64)
        return Cells(self._sources, self._which[rows], self._rows[rows])


class ParquetColumn:
    """The column of images of one Parquet file; a few rows are held in memory at a time.

    Each process and each thread opens the file for itself, and reads on from its last row where the next one lies
    behind it in the same row group. A cell whose bytes are null names a file, in `folder`.
    """

    def __init__(self, file: Path, column: str, folder: Path) -> None:
        self._file, self._column, self._folder = file, column, folder
        self._readers = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        return ParquetColumn, (self._file, self._column, self._folder)

    def __str__(self) -> str:
        return str(self._file)

    def encoded(self, row: int) -> bytes:
        """
        Raises:
            OSError, ValueError: the file cannot be read, or the cell holds no image.
        """
        reader: _Reader | None = getattr(self._readers, "own", None)
        if reader is None or reader.process != os.getpid():
            reader = self._readers.own = _Reader(self._file, self._column)
        try:
            cell = reader.cell(row)
        except BaseException:
            del self._readers.own  # it may stand anywhere now
            raise
        data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
        return bytes_of(data, self._folder / path if path else None)


class _Reader:
    """Reads cells of one column of a Parquet file, best in the order of the rows."""

    def __init__(self, file: Path, column: str) -> None:
        self.process = os.getpid()
        self._column = column
        self._opened = pq.ParquetFile(file, buffer_size=1 << 20)
        footer = self._opened.metadata
        self._ends = np.cumsum([footer.row_group(group).num_rows for group in range(footer.num_row_groups)])
        self._held: pa.Array = pa.array([])
        self._start = self._stop = 0  # the first row that is held, the end of its row group

    def cell(self, row: int) -> Any:
        """
        Raises:
            OSError, ValueError: the row cannot be read; the reader is of no use afterwards.
        """
        try:
            if not self._start <= row < self._stop:
                group = int(np.searchsorted(self._ends, row, side="right"))
                self._batches = self._opened.iter_batches(HELD, [group], [self._column], use_threads=False)
                self._start, self._stop = int(self._ends[group - 1]) if group else 0, int(self._ends[group])
                self._held = next(self._batches).column(self._column)
            while row >= self._start + len(self._held):
                self._start += len(self._held)
                self._held = next(self._batches).column(self._column)
            return self._held[row - self._start].as_py()
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error
        except (StopIteration, LookupError) as error:
            raise ValueError("the file has changed since it was opened first") from error


def bytes_of(data: bytes | None, file: Path | None) -> bytes:
    """The encoded image of a cell: its bytes or, where it has none, the file that it names.

    Raises:
        OSError, ValueError: the file cannot be read, or the cell has neither.
    """
    if data is not None:
        return bytes(data)
    if file is None:
        raise ValueError("the cell is empty")
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"it names {file}: {error.strerror or error}") from error


@dataclass(frozen=True)
class Member:
    """An encoded image at its place in a tar."""

    tar: Path
    name: str
    offset: int
    length: int

    def read(self) -> bytes:
        """
        Raises:
            OSError: the tar cannot be read, or ends before.
        """
        with self.tar.open("rb") as stream:
            stream.seek(self.offset)
            data = stream.read(self.length)
        if len(data) < self.length:
            raise OSError("the tar ends within it")
        return data

    def __str__(self) -> str:
        return f"{self.tar}, {self.name}"


class Members(Column[Stored]):
    """Encoded images in several tars: for each the position of its tar, its name, offset and length."""

    def __init__(self, tars: Sequence[Path], which: Rows, names: Strings, offsets: Rows, lengths: Rows) -> None:
        self._tars, self._names = tuple(tars), names
        self._which = np.asarray(which, dtype=np.int32)
        self._offsets, self._lengths = np.asarray(offsets, dtype=np.int64), np.asarray(lengths, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._names)

    def _item(self, row: int) -> Stored:
        tar = self._tars[self._which[row]]
        return Member(tar, self._names[row], int(self._offsets[row]), int(self._lengths[row]))

    def take(self, rows: Rows) -> Members:
        rows = np.asarray(rows, dtype=np.int64)
        parts = self._which[rows], self._names.take(rows), self._offsets[rows], self._lengths[rows]
        return Members(self._tars, *parts)
