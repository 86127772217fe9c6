"""Writing Parquet: SPLIT.parquet, or SPLIT-00000-of-00002.parquet and so on, with the encoded images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from tagformer.data.formats._common.annotation import write_annotation
from tagformer.data.formats._common.writer import Item, Job, Part, Staged, Writer, move
from tagformer.images.encoding import file_name

GROUP_IMAGES, GROUP_BYTES = 100, 1 << 25  # largest row group, so that readers need little memory


class ParquetWriter(Writer):
    """Writes tables of id, image and lists of labels, which Hugging Face's library can load too.

    >>> ParquetWriter.files("train")
    ('train.parquet', 'train-?????-of-?????.parquet')
    """

    stores_images: ClassVar[bool] = True

    @classmethod
    def files(cls, split: str) -> tuple[str, ...]:
        return f"{split}.parquet", f"{split}-?????-of-?????.parquet"

    def open(self, file: Path, split: str) -> Part:
        return _TablePart(file, self.job, self.part_bytes)

    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        names = [f"{split}-{number:05d}-of-{len(parts):05d}.parquet" for number in range(len(parts))]
        names = [f"{split}.parquet"] if len(parts) == 1 else names
        move(parts, [self.job.target / name for name in names])


class _TablePart(Part):
    def __init__(self, file: Path, job: Job, part_bytes: int) -> None:
        self._names, self._limit = job.label_space.names, part_bytes
        lists = ("tags",) if job.tagged else ("tags", "present", "absent", "unknown")
        self._schema = _schema(lists)
        self._writer = pq.ParquetWriter(file, self._schema, use_dictionary=[f"{name}.list.element" for name in lists])
        self._rows: list[dict[str, Any]] = []
        self._buffered = self._total = 0  # bytes of images

    @property
    def full(self) -> bool:
        return self._total >= self._limit

    def add(self, item: Item) -> None:
        data = item.image.data or b""
        image = {"bytes": data, "path": file_name(item.id) + item.image.extension}
        self._rows.append({"id": item.id, "image": image, **write_annotation(item.record.labels, self._names)})
        self._buffered += len(data)
        self._total += len(data)
        if self._buffered > GROUP_BYTES or len(self._rows) == GROUP_IMAGES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._buffered = [], 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


def _schema(lists: Iterable[str]) -> pa.Schema:
    """The columns, with the metadata by which Hugging Face's library recognises the images."""
    text, image = pa.string(), pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = {"id": text, "image": image, **dict.fromkeys(lists, pa.list_(text))}
    value: dict[str, Any] = {"dtype": "string", "_type": "Value"}
    features: dict[str, Any] = {"id": value, "image": {"_type": "Image"}}
    features |= {name: {"feature": value, "_type": "Sequence"} for name in lists}
    return pa.schema(list(fields.items()), {"huggingface": json.dumps({"info": {"features": features}})})
