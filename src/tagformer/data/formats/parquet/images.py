"""Encoded images in a column of a Parquet file, read without holding more than a few rows in memory."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tagformer.data.formats._common.stored import read_cell

BATCH = 16  # images in memory at a time


class ParquetColumn:
    """The column of images of one Parquet file.

    Each process and each thread opens the file for itself, and continues from its last row where the next one comes
    after it in the same row group. A cell whose bytes are null names a file in `folder`.
    """

    def __init__(self, file: Path, column: str, folder: Path) -> None:
        self._file, self._column, self._folder = file, column, folder
        self._readers = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        return ParquetColumn, (self._file, self._column, self._folder)

    def __str__(self) -> str:
        return str(self._file)

    def encoded(self, row: int) -> bytes:
        """The image in a row, from 0.

        Raises:
            OSError, ValueError: the file cannot be read, or the cell holds no image.
        """
        reader: _Reader | None = getattr(self._readers, "reader", None)
        if reader is None or reader.process != os.getpid():
            reader = self._readers.reader = _Reader(self._file, self._column)
        try:
            cell = reader.cell(row)
        except BaseException:
            del self._readers.reader  # its position is undefined now
            raise
        data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
        return read_cell(data, self._folder / path if path else None)


class _Reader:
    """Reads cells of one column of a Parquet file, fastest in the order of the rows."""

    def __init__(self, file: Path, column: str) -> None:
        self.process = os.getpid()
        self._column = column
        self._opened = pq.ParquetFile(file, buffer_size=1 << 20)
        footer = self._opened.metadata
        self._ends = np.cumsum([footer.row_group(group).num_rows for group in range(footer.num_row_groups)])
        self._batch: pa.Array = pa.array([])
        self._start = self._stop = 0  # first row of the batch, end of its row group

    def cell(self, row: int) -> Any:
        """
        Raises:
            OSError, ValueError: the row cannot be read; the reader cannot be used any more.
        """
        try:
            if not self._start <= row < self._stop:
                group = int(np.searchsorted(self._ends, row, side="right"))
                self._batches = self._opened.iter_batches(BATCH, [group], [self._column], use_threads=False)
                self._start, self._stop = int(self._ends[group - 1]) if group else 0, int(self._ends[group])
                self._batch = next(self._batches).column(self._column)
            while row >= self._start + len(self._batch):
                self._start += len(self._batch)
                self._batch = next(self._batches).column(self._column)
            return self._batch[row - self._start].as_py()
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error
        except (StopIteration, LookupError) as error:
            raise ValueError("the file has changed since it was first opened") from error
