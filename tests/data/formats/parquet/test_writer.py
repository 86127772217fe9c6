"""The Parquet files that are written, read with pyarrow."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from tagformer.data import write_dataset
from tests.data_files.conversions import (
    SPACE,
    TAGGED,
    dataset,
)
from tests.stored_pictures import png


def test_parquet_is_a_table_of_images_and_lists(tmp_path: Path) -> None:
    write_dataset({"train": dataset(tmp_path, TAGGED)}, f"parquet:{tmp_path / 'out'}")
    table = pq.read_table(tmp_path / "out" / "train.parquet")
    assert table.column_names == ["id", "image", "tags"]
    rows = table.to_pylist()
    assert [row["image"]["bytes"] for row in rows] == [png(number) for number in range(6)]
    assert rows[0]["image"]["path"] == "id 0.png"
    names = SPACE.names
    assert [row["tags"] for row in rows] == [
        None if -1 in states else [name for name, state in zip(names, states, strict=True) if state]
        for states in TAGGED
    ]
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
