"""Malformed COCO files are rejected, with their name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tagformer.data.formats.coco import CocoFormat
from tagformer.errors import TagformerError
from tests.data_files.coco import CATEGORIES, annotation, instances, write

FORMAT = CocoFormat()
load, splits = FORMAT.load, FORMAT.splits


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no list 'images': it is not a COCO instances file"),
        (without(instances([]), "annotations"), "no list 'annotations'"),
        (without(instances([]), "categories"), "no list 'categories'"),
        (instances([annotation(5, 10, 99, (0, 0, 5, 5))]), "annotation 5 has no category 99"),
        (instances([annotation(5, 77, 1, (0, 0, 5, 5))]), "annotation 5 has no image 77"),
        (instances([{"id": 5, "category_id": 1, "bbox": [0, 0, 5, 5]}]), "annotation 5 has no 'image_id'"),
        (instances([{"id": 5, "image_id": [1], "category_id": 1}]), r"annotation 5 has the image_id \[1\]"),
        (instances([{"image_id": 10}]), "entry 1 of 'annotations' has no 'category_id'"),
        (instances(["a box"]), "entry 1 of 'annotations' is not an object"),  # type: ignore[list-item]
        (instances([]) | {"categories": [*CATEGORIES, {"id": 1, "name": "car"}]}, "two categories have the id 1"),
        (instances([]) | {"categories": [*CATEGORIES, {"id": 2}]}, "category 2 has no 'name': it must be text"),
        (instances([]) | {"categories": [{"id": 2, "name": 7}]}, "category 2 has the name 7: it must be text"),
        (instances([]) | {"categories": [{"id": 2, "name": "\ud800"}]}, "category 2 has the name"),
        (instances([]) | {"categories": [{"name": "cat"}]}, "entry 1 of 'categories' has no 'id'"),
        (instances([]) | {"categories": []}, "no labels"),
        (
            instances([annotation(5, 10, 1, (0, 0, 5, 5))]) | {"images": [{"id": 10, "file_name": 7}]},
            "image 10 has the file_name 7",
        ),
        (instances([annotation(5, 10, 1, (0, 0, 5, 5))]) | {"images": [{"id": 10}]}, "image 10 has no 'file_name'"),
        (instances([annotation(5, 10, 1, (0, 0, 5, 5))]) | {"images": ["a.jpg"]}, "entry 1 of 'images' is not an obj"),
    ],
)
def test_a_file_that_is_not_coco_is_rejected_by_name(tmp_path: Path, content: Any, message: str) -> None:
    file = write(tmp_path / "mine.json", content)
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(file) in str(caught.value)


def test_broken_json_is_rejected_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"images": [],\n"annotations": [}\n', encoding="utf-8")
    with pytest.raises(TagformerError, match=r"mine\.json, line 2: not valid JSON"):
        load(file, "all", {})


def test_a_folder_without_annotations_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"has no annotations/instances_train2017\.json"):
        splits(tmp_path, {})


def test_another_value_of_annotated_is_rejected(tree: Path) -> None:
    with pytest.raises(TagformerError, match="annotated=some: use only or all"):
        load(tree, "train", {"annotated": "some"})


def test_splits_with_other_categories_are_not_put_together(tree: Path) -> None:
    content = instances([annotation(7, 10, 1, (0, 0, 100, 100))], images=1)
    content["categories"] = CATEGORIES[:2]
    write(tree / "annotations" / "instances_val2017.json", content)
    with pytest.raises(TagformerError, match="the categories of its splits differ"):
        load(tree, "all", {})


def test_two_images_with_one_id_are_rejected(tree: Path) -> None:
    file = tree / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["images"].append(content["images"][0])
    file.write_text(json.dumps(content))
    with pytest.raises(TagformerError, match="two images have the id 10"):
        load(tree, "test", {})


@pytest.mark.parametrize("bbox", [[1, 2, 3], "box", [1, 2, 3, "4"], [1, 2, 3, float("nan")]])
def test_a_malformed_annotation_is_named(tree: Path, bbox: object) -> None:
    file = tree / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"] = bbox
    file.write_text(json.dumps(content))
    with pytest.raises(
        TagformerError, match=r"instances_val2017\.json: annotation 7 has the bbox .*must be four numbers"
    ):
        load(tree, "test", {})
