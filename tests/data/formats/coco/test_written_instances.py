"""The fields beyond COCO in the files that Tagformer writes are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tagformer.data.formats.coco import CocoFormat
from tagformer.errors import TagformerError
from tests.data_files.coco import annotation, instances, write

FORMAT = CocoFormat()
load, splits = FORMAT.load, FORMAT.splits


def own_file(tmp_path: Path, **changes: Any) -> Path:
    """Pictures 10 (a dog, perhaps a cat), 11 (only the absence of a cat is known) and 12 (nothing)."""
    content = instances([annotation(1, 10, 18, (0, 0, 50, 50))])
    content["images"][0] |= {"unknown_category_ids": [17], "source_id": "b/ä"}
    content["images"][1] |= {"unknown_category_ids": [1, 18]}
    extras = {"groups": {"pets": ["dog", "cat"]}, "extra": ["person"], "exhaustive": True}
    return write(tmp_path / "mine.json", {**content, "tagformer": extras, **changes})


def test_unknown_labels_ids_groups_and_extra_labels_are_read(tmp_path: Path) -> None:
    dataset = load(own_file(tmp_path), "all", {})
    assert dataset.ids == ["b/ä", "11", "12"]
    assert dataset.labels.tolist() == [[0, -1, 1], [-1, 0, -1], [0, 0, 0]]
    assert dataset.label_space.groups == {"pets": ("dog", "cat")}
    assert dataset.label_space.extra == ("person",)
    assert dataset.exhaustive
    assert dataset.sizes is not None
    assert load(own_file(tmp_path), "all", {"annotated": "only"}).ids == ["b/ä"]


def test_sizes_and_boxes_that_are_only_made_up_are_not_taken(tmp_path: Path) -> None:
    for known in (False, True):
        dataset = load(own_file(tmp_path, tagformer={"sizes": known, "boxes": known}), "all", {})
        assert (dataset.sizes is not None) == (dataset.boxes is not None) == known


def test_the_splits_of_our_files_are_read(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write(tmp_path / "annotations" / f"instances_{split}.json", instances([annotation(1, 10, 1, (0, 0, 5, 5))]))
    assert splits(tmp_path, {}) == ("train", "val", "test")
    assert load(tmp_path, "val", {}).images == [tmp_path / "val" / f"{10:012d}.jpg"]
    assert load(tmp_path, "all", {}).ids == ["train/10", "val/10", "test/10"]


@pytest.mark.parametrize(
    ("image", "extras", "message"),
    [
        ({"unknown_category_ids": [99]}, {}, "image 12: unknown_category_ids has 99, which is not a category"),
        ({"unknown_category_ids": 17}, {}, "malformed"),
        ({"source_id": 7}, {}, "source_id 7: it must be text"),
        ({"source_id": "11"}, {}, "two images have the source_id '11'"),
        ({}, {"extra": ["bird"]}, "unknown label 'bird'"),
        ({}, {"groups": {"a": ["dog"], "b": ["dog"]}}, "label 'dog' is in two groups"),
        ({}, ["a"], "malformed"),
    ],
)
def test_our_files_are_rejected_where_they_are_wrong(
    tmp_path: Path, image: dict[str, Any], extras: Any, message: str
) -> None:
    content = instances([])
    content["images"][2] |= image
    file = write(tmp_path / "mine.json", {**content, "tagformer": extras})
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(file) in str(caught.value)
