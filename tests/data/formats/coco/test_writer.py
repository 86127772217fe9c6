"""The COCO files that are written, read with nothing but JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tagformer.data import MultiLabelDataset, load_dataset, write_dataset
from tagformer.data.dataset import Box
from tagformer.labels import LabelSpace
from tests.data_files.conversions import (
    dataset,
)
from tests.stored_pictures import SIDE


def test_coco_follows_the_format(tmp_path: Path) -> None:
    """Read with nothing but JSON: ids, categories, boxes in pixels, crowds."""
    space = LabelSpace(("cat", "dog", "night"), groups={"animal": ("cat", "dog")})
    own = dataset(
        tmp_path,
        [[1, 1, 1], [0, -1, 0]],
        label_space=space,
        sizes=torch.tensor([[3, 1, 0], [0, 0, 0]], dtype=torch.int8),
        boxes=[
            (Box("dog", (0.5, 0.25, 1.0, 0.75)), Box("cat", (0.0, 0.0, 0.5, 0.5)), Box("dog", (0, 0, 0.1, 0.1))),
            (),
        ],
        ids=["a", "b"],
    )
    write_dataset({"train": own}, f"coco:{tmp_path / 'out'}")
    content = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text(encoding="utf-8"))
    assert [(entry["id"], entry["name"], entry["supercategory"]) for entry in content["categories"]] == [
        (1, "cat", "animal"),
        (2, "dog", "animal"),
        (3, "night", ""),
    ]
    first, second = content["images"]
    assert (first["id"], first["source_id"], first["width"], first["height"]) == (1, "a", SIDE, SIDE)
    assert first["file_name"] == str(own.images[0])
    assert (second["id"], second["unknown_category_ids"]) == (2, [2])
    assert "unknown_category_ids" not in first
    found = [(entry["category_id"], entry["bbox"], entry["iscrowd"]) for entry in content["annotations"]]
    assert found == [
        (2, [6.0, 3.0, 6.0, 6.0], 0),
        (1, [0.0, 0.0, 6.0, 6.0], 0),
        (2, [0.0, 0.0, 1.2, 1.2], 0),
        (3, [0.0, 0.0, 12.0, 12.0], 1),
    ]
    assert [entry["area"] for entry in content["annotations"]][:3] == [36.0, 9216.0, 1.44]  # the cat is large
    assert [entry["id"] for entry in content["annotations"]] == [1, 2, 3, 4]
    assert {entry["image_id"] for entry in content["annotations"]} == {1}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("side", [10, 50, 200])
def test_a_size_is_kept_whatever_the_box_is(tmp_path: Path, size: int, side: int) -> None:
    """As of COCO's outlines, whose area is less than their box's."""
    file = tmp_path / "a.png"
    Image.new("RGB", (side, side)).save(file)
    own = MultiLabelDataset(
        "mine",
        LabelSpace(("dog",)),
        [file],
        torch.tensor([[1]], dtype=torch.int8),
        ["1"],
        torch.tensor([[size]], dtype=torch.int8),
        [(Box("dog", (0.0, 0.0, 1.0, 1.0)), Box("dog", (0.0, 0.0, 0.9, 0.9)))],
    )
    found = load_dataset(write_dataset({"all": own}, f"coco:{tmp_path / 'out'}").spec, "all")
    assert found.sizes is not None
    assert found.sizes.tolist() == [[size]]
    assert found.boxes is not None
    assert len(found.boxes[0]) == 2


def test_numbers_stay_the_ids_of_coco(tmp_path: Path) -> None:
    own = dataset(tmp_path, ids=["139", "0", "7", "8", "9", "123456789012"])
    write_dataset({"all": own}, f"coco:{tmp_path / 'out'}")
    content = json.loads((tmp_path / "out" / "instances.json").read_text(encoding="utf-8"))
    assert [entry["id"] for entry in content["images"]] == [139, 0, 7, 8, 9, 123456789012]
    assert not any("source_id" in entry for entry in content["images"])


def test_sizes_that_were_unknown_stay_unknown(tmp_path: Path) -> None:
    written = write_dataset({"all": dataset(tmp_path)}, f"coco:{tmp_path / 'out'}")
    found = load_dataset(written.spec, "all")
    assert found.sizes is None
    assert found.boxes is None
    content = json.loads((tmp_path / "out" / "instances.json").read_text(encoding="utf-8"))
    assert all(entry["bbox"] == [0, 0, SIDE, SIDE] and not entry["iscrowd"] for entry in content["annotations"])
