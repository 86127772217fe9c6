"""Writing CSV: ids, paths, and one column of tags or one column per label."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tagformer.data.formats._common.cells import join_tags
from tagformer.data.formats._common.options import UNNAMED
from tagformer.data.formats._common.table import TAG_COLUMNS
from tagformer.data.formats._common.writer import Item, Part, Staged, TextPart, Writer, append
from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.safe_text import data_cell

SUFFIX = ".csv"
CELLS = {PRESENT: "1", ABSENT: "0", UNKNOWN: ""}
OTHER_FORMATS = "write jsonl, parquet, coco or shards"


class CsvWriter(Writer):
    """Writes SPLIT.csv with the columns id, path and tags, or one column per label where tags are not enough.

    >>> CsvWriter.files("train")
    ('train.csv',)
    """

    @classmethod
    def files(cls, split: str) -> tuple[str, ...]:
        return (f"{split}{SUFFIX}",)

    def check_names(self) -> None:
        super().check_names()
        reserved = () if self.job.tagged else ("id", "path", "split", *TAG_COLUMNS)
        for name in self.job.label_space.names:
            unnamed = not self.job.tagged and UNNAMED.fullmatch(name)
            if name in reserved or (reserved and name.casefold() in TAG_COLUMNS) or unnamed or not _fits(name):
                raise TagformerError(f"a CSV cannot hold the label {name!r} here: {OTHER_FORMATS}.")

    def check_id(self, image_id: str) -> None:
        super().check_id(image_id)
        if not _fits(image_id):
            raise TagformerError(f"a CSV cannot hold the id {image_id!r}: {OTHER_FORMATS}.")

    def open(self, file: Path, split: str) -> Part:
        return TextPart(file, lambda item: self._line(item, split))

    def _line(self, item: Item, split: str) -> str:
        labels = item.record.labels.tolist()
        cells = [CELLS[state] for state in labels]
        if self.job.tagged:
            names = self.job.label_space.names
            present = [name for name, state in zip(names, labels, strict=True) if state == PRESENT]
            cells = [join_tags(present) if UNKNOWN not in labels else ""]
        path = self.path(item.image, split)
        if not _fits(path):
            raise TagformerError(f"a CSV cannot hold the path {path!r}: rename the file, or {OTHER_FORMATS}.")
        return _csv_line([item.id, path, *cells])

    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        header = ["id", "path", *(["tags"] if self.job.tagged else self.job.label_space.names)]
        with staged(self.job.target / f"{split}{SUFFIX}") as file, file.open("wb") as stream:
            stream.write(_csv_line(header).encode())
            append(parts, stream)


def _fits(text: str) -> bool:
    """Whether a cell reads back as this text: the reader strips white space, and NUL ends a line."""
    return text == text.strip() and "\0" not in text


def _csv_line(cells: Sequence[str]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow([data_cell(cell) for cell in cells])
    return buffer.getvalue()
