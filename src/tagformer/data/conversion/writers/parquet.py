"""Parquet: SPLIT.parquet, or SPLIT-00000-of-00002.parquet and so on for large data, with the encoded images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from tagformer.data.conversion.writers.base import Item, Job, Part, Staged, Writer, move
from tagformer.data.formats._common.annotation import write_annotation
from tagformer.images.encoding import file_name

GROUP_IMAGES, GROUP_BYTES = 100, 1 << 25  # what readers take at a time


class ParquetWriter(Writer):
    """See the module's text."""

    stores: ClassVar[bool] = True

    def open(self, file: Path, split: str) -> Part:
        return _Part(file, self.job, self.part_bytes)

    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        names = [f"{split}-{number:05d}-of-{len(parts):05d}.parquet" for number in range(len(parts))]
        places = [f"{split}.parquet"] if len(parts) == 1 else names
        move(parts, [self.job.target / name for name in places])


class _Part(Part):
    def __init__(self, file: Path, job: Job, part_bytes: int) -> None:
        self._names, self._limit = job.label_space.names, part_bytes
        lists = ("tags",) if job.tagged else ("tags", "present", "absent", "unknown")
        self._schema = _schema(lists)
        repeating = [f"{name}.list.element" for name in lists]
        self._writer = pq.ParquetWriter(file, self._schema, use_dictionary=repeating)
        self._rows: list[dict[str, Any]] = []
        self._held = self._written = 0

    @property
    def full(self) -> bool:
        return self._written >= self._limit

    def add(self, item: Item) -> None:
        data = item.image.data or b""
        image = {"bytes": data, "path": file_name(item.id) + item.image.extension}
        self._rows.append({"id": item.id, "image": image, **write_annotation(item.record.labels, self._names)})
        self._held += len(data)
        self._written += len(data)
        if self._held > GROUP_BYTES or len(self._rows) == GROUP_IMAGES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._held = [], 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


def _schema(lists: Iterable[str]) -> pa.Schema:
    """The columns, with what Hugging Face's library needs to know that the images are images."""
    text, image = pa.string(), pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = {"id": text, "image": image, **dict.fromkeys(lists, pa.list_(text))}
    value: dict[str, Any] = {"dtype": "string", "_type": "Value"}
    features: dict[str, Any] = {"id": value, "image": {"_type": "Image"}}
    features |= {name: {"feature": value, "_type": "Sequence"} for name in lists}
    return pa.schema(list(fields.items()), {"huggingface": json.dumps({"info": {"features": features}})})
