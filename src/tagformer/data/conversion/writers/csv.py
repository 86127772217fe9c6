"""CSV: SPLIT.csv with the columns id, path and tags, or one column a label where tags cannot say everything."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tagformer.data.conversion.writers.base import Item, Part, Staged, TextPart, Writer, append
from tagformer.data.formats._common.table import TAG_COLUMNS
from tagformer.data.formats.csv import join_tags
from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN

CELLS = {PRESENT: "1", ABSENT: "0", UNKNOWN: ""}
OTHERS = "write jsonl, parquet, coco or shards"


class CsvWriter(Writer):
    """See the module's text."""

    def check_names(self) -> None:
        super().check_names()
        reserved = () if self.job.tagged else ("id", "path", "split", *TAG_COLUMNS)
        for name in self.job.label_space.names:
            if name in reserved or name != name.strip() or "\0" in name:
                raise TagformerError(f"a CSV cannot hold the label {name!r} here: {OTHERS}.")

    def check_id(self, image_id: str) -> None:
        super().check_id(image_id)
        if image_id != image_id.strip() or "\0" in image_id:
            raise TagformerError(f"a CSV cannot hold the id {image_id!r}: {OTHERS}.")

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
        if path != path.strip() or "\0" in path:
            raise TagformerError(f"a CSV cannot hold the path {path!r}: rename the file, or {OTHERS}.")
        return _csv_line([item.id, path, *cells])

    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        header = ["id", "path", *(["tags"] if self.job.tagged else self.job.label_space.names)]
        with staged(self.job.target / f"{split}.csv") as file, file.open("wb") as stream:
            stream.write(_csv_line(header).encode())
            append(parts, stream)


def _csv_line(cells: Sequence[str]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()
