"""Parquet files, written with pyarrow and with the library ``datasets``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from tests.stored_pictures import png

TEXTS = pa.list_(pa.string())
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(file: Path, types: dict[str, pa.DataType] | None = None, group: int = 2, **columns: list[Any]) -> Path:
    """A table of these columns in row groups of two; `types` gives those that pyarrow cannot infer."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: pa.array(values, (types or {}).get(name)) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), file, row_group_size=group)
    return file


def write_hugging(
    file: Path,
    labels: list[list[int] | None],
    numbers: list[int] | None = None,
    names: tuple[str, ...] = ("dog", "cat", "ant"),
) -> Path:
    """As the library writes it: a column of images and one of class indices, and further ones."""
    numbers = list(range(len(labels))) if numbers is None else numbers
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "objects": datasets.Value("string"),
            "labels": datasets.Sequence(datasets.ClassLabel(names=list(names))),
        }
    )
    images = [{"bytes": png(number), "path": None} for number in numbers]
    columns = {"image": images, "objects": ["several"] * len(labels), "labels": labels}
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=features).to_parquet(file, batch_size=3)
    return file
