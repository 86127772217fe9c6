"""The CSV files and shards that are written, read with the standard library."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import pytest

from tagformer.data import write_dataset
from tests.data_files.conversions import (
    PARTLY,
    SPACE,
    TAGGED,
    dataset,
)
from tests.stored_pictures import png


def test_a_shard_is_a_tar_of_images_each_before_its_labels(tmp_path: Path) -> None:
    write_dataset({"val": dataset(tmp_path)}, f"shards:{tmp_path / 'out'}")
    with tarfile.open(tmp_path / "out" / "val-000000.tar") as tar:
        members = tar.getmembers()
        assert [member.name for member in members[:4]] == [
            *("000000000.png", "000000000.json", "000000001.png", "000000001.json")
        ]
        contents = [tar.extractfile(member).read() for member in members]  # type: ignore[union-attr]
    assert contents[0::2] == [png(number) for number in range(6)]
    annotations = [json.loads(content) for content in contents[1::2]]
    assert annotations[0] == {"id": "id 0", "tags": ["zebra", "back\\slash"]}
    assert annotations[3] == {"id": "id 3", "tags": ["zebra", "ant; big"], "unknown": ['say "cat"']}
    assert {member.mtime for member in members} == {0}


@pytest.mark.parametrize("states", [PARTLY, TAGGED])
def test_a_csv_is_read_by_the_standard_library(tmp_path: Path, states: list[list[int]]) -> None:
    own = dataset(tmp_path, states)
    write_dataset({"train": own}, f"csv:{tmp_path / 'out'}")
    with (tmp_path / "out" / "train.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == list(own.ids)
    assert [row["path"] for row in rows] == [str(image) for image in own.images]
    if states is TAGGED:
        assert [row["tags"] for row in rows[:3]] == ["zebra;back\\\\slash", ";", ""]
    else:
        cells = [[{"1": 1, "0": 0, "": -1}[row[name]] for name in SPACE.names] for row in rows]
        assert cells == states
