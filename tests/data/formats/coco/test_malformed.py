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
        (instances([{"id": 5, "image_id": 10, "category_id": 1}]), "an entry lacks 'bbox'"),
        (instances([{"id": 5, "category_id": 1, "bbox": [0, 0, 5, 5]}]), "an entry lacks 'image_id'"),
        (instances([]) | {"categories": [*CATEGORIES, {"id": 1, "name": "car"}]}, "two categories have the id 1"),
        (instances([]) | {"categories": [*CATEGORIES, {"id": 2, "name": "cat"}]}, "duplicate label 'cat'"),
        (instances([]) | {"categories": []}, "no labels"),
        (instances([annotation(5, 10, 1, (0, 0, 5, 5))]) | {"images": [{"id": 10, "file_name": 7}]}, "is malformed"),
        (instances([annotation(5, 10, 1, (0, 0, 5, 5))]) | {"images": [{"id": 10}]}, "an entry lacks 'file_name'"),
        (instances([annotation(5, 10, 1, (0, 0, 5, 5))]) | {"images": ["a.jpg"]}, "an entry is malformed"),
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
    with pytest.raises(TagformerError, match="the categories of the two splits differ"):
        load(tree, "all", {})


def test_two_images_with_one_id_are_rejected(tree: Path) -> None:
    file = tree / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["images"].append(content["images"][0])
    file.write_text(json.dumps(content))
    with pytest.raises(TagformerError, match="two images have the id 10"):
        load(tree, "test", {})


@pytest.mark.parametrize("bbox", [[1, 2, 3], None, "box"])
def test_a_malformed_annotation_names_the_file(tree: Path, bbox: object) -> None:
    file = tree / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"] = bbox
    file.write_text(json.dumps(content))
    with pytest.raises(TagformerError, match=r"instances_val2017\.json: an entry is malformed"):
        load(tree, "test", {})
