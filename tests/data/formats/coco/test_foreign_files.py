"""COCO files of other tools: what tagging does not need may be missing, ids may be text, categories may be a tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tagformer.data import load_dataset
from tagformer.data.formats.coco import CocoFormat
from tagformer.errors import TagformerError
from tests.data_files.coco import annotation, instances, write

load = CocoFormat().load


def two_images(**changes: Any) -> dict[str, Any]:
    """A dog on the first picture and a person on the second, with other values for some of the file's lists."""
    return instances([annotation(1, 10, 18, (0, 0, 9, 9)), annotation(2, 11, 1, (0, 0, 9, 9))], images=2) | changes


def names_on(file: Path) -> list[list[str]]:
    dataset = load(file, "all", {})
    return [dataset.label_space.names_of(row) for row in dataset.labels]


@pytest.mark.parametrize("bbox", [{}, {"bbox": None}, {"bbox": []}, {"bbox": None, "area": 81.0}])
def test_annotations_without_a_box_give_labels_alone(tmp_path: Path, bbox: dict[str, Any]) -> None:
    content = two_images()
    del content["annotations"][1]["bbox"]
    content["annotations"][1] |= {"segmentation": [[0, 0, 9, 0, 9, 9]], **bbox}
    dataset = load(write(tmp_path / "mine.json", content), "all", {})
    assert dataset.label_space.names == ("person", "cat", "dog")
    assert dataset.labels.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert dataset.size_rows is None
    assert dataset.boxes is None
    assert dataset.warnings == ()


@pytest.mark.parametrize("area", [None, "big", float("nan")])
def test_an_area_that_is_not_a_number_is_that_of_the_box(tmp_path: Path, area: object) -> None:
    content = two_images()
    content["annotations"][0] |= {"area": area, "bbox": [0, 0, 40, 40]}
    sizes = load(write(tmp_path / "mine.json", content), "all", {}).sizes
    assert sizes is not None
    assert sizes.tolist() == [[0, 0, 2], [1, 0, 0]]


def test_ids_that_are_text_on_one_side_are_joined(tmp_path: Path) -> None:
    content = two_images()
    for image in content["images"]:
        image["id"] = f"{image['id']:05d}"
    for entry in content["annotations"]:
        entry["category_id"] = str(entry["category_id"])
    file = write(tmp_path / "mine.json", content)
    assert names_on(file) == [["dog"], ["person"]]
    assert list(load(file, "all", {}).ids) == ["00010", "00011"]


def test_ids_that_could_mean_two_images_are_not_joined(tmp_path: Path) -> None:
    content = two_images()
    for image, id_ in zip(content["images"], ("10", "010"), strict=True):
        image["id"] = id_
    file = write(tmp_path / "mine.json", content)
    expected = r"annotation 1 has no image 10: .* \(the first id there is text, '0?10'; this one is a number, 10\)"
    with pytest.raises(TagformerError, match=expected):
        load(file, "all", {})


def test_a_category_of_categories_that_no_annotation_has_is_left_out(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "animals", "supercategory": "none"},
        {"id": 1, "name": "person", "supercategory": "animals"},
        {"id": 18, "name": "dog", "supercategory": "animals"},
    ]
    file = write(tmp_path / "mine.json", two_images(categories=categories))
    dataset = load(file, "all", {})
    assert dataset.label_space.names == ("person", "dog")
    assert dataset.labels.tolist() == [[0, 1], [1, 0]]
    assert [warning for warning in dataset.warnings if "'animals' is left out, since no annotation has it" in warning]
    used = two_images(categories=categories)
    used["annotations"][0]["category_id"] = 0
    assert load(write(tmp_path / "used.json", used), "all", {}).label_space.names == ("animals", "person", "dog")
    alone = two_images(categories=[{"id": 1, "name": "person"}, {"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}])
    assert load(write(tmp_path / "alone.json", alone), "all", {}).label_space.names == ("person", "cat", "dog")


def test_a_root_that_only_another_split_uses_stays_a_label_in_both(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "animals"},
        *({"id": id_, "name": str(id_), "supercategory": "animals"} for id_ in (1, 18)),
    ]
    train, test = two_images(categories=categories), two_images(categories=categories)
    write(tmp_path / "train" / "a.json", train)
    write(tmp_path / "test" / "a.json", test)
    assert load(tmp_path, "test", {}).label_space.names == ("1", "18")
    train["annotations"][0]["category_id"] = 0
    write(tmp_path / "train" / "a.json", train)
    for split in ("train", "test"):
        assert load(tmp_path, split, {}).label_space.names == ("animals", "1", "18")


def test_categories_of_the_same_name_are_one_label_and_similar_names_are_reported(tmp_path: Path) -> None:
    content = two_images()
    content["categories"] = [{"id": 1, "name": "dog"}, {"id": 18, "name": "dog "}, {"id": 20, "name": "Dog "}]
    file = write(tmp_path / "mine.json", content)
    dataset = load_dataset(f"coco:{file}", "all", on_bad_image="keep")
    assert dataset.label_space.names == ("dog", "Dog")
    assert dataset.labels.tolist() == [[1, 0], [1, 0]]
    assert {box.label for boxes in dataset.boxes or () for box in boxes} <= {"dog", "Dog"}
    merged, similar = dataset.warnings
    assert "the categories 1 and 18 are all called 'dog' and are read as one label" in merged
    assert "'dog' and 'Dog'" in similar


def test_backslashes_separate_folders(tmp_path: Path) -> None:
    content = two_images()
    content["images"][0]["file_name"] = "photos\\one.jpg"
    assert load(write(tmp_path / "mine.json", content), "all", {}).images[0] == tmp_path / "photos" / "one.jpg"


def test_images_without_objects_are_counted_with_the_option_that_keeps_them(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.json", instances([annotation(1, 10, 18, (0, 0, 9, 9))]))
    assert load(file, "all", {}).warnings == (
        f"{file}: 2 images without objects left out; keep such images with ?annotated=all.",
    )
    assert load(file, "all", {"annotated": "all"}).warnings == ()


@pytest.mark.parametrize("folder", ["train", "images/train", "images", "."])
def test_images_are_found_in_the_usual_folders(tmp_path: Path, folder: str) -> None:
    write(tmp_path / "annotations" / "instances_train.json", two_images())
    image = tmp_path / folder / f"{11:012d}.jpg"
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(b"")
    assert load(tmp_path, "train", {}).images[1] == image
    assert load(tmp_path / "annotations" / "instances_train.json", "all", {}).images[1] == image


def test_a_folder_without_splits_names_the_files_that_it_has(tmp_path: Path) -> None:
    write(tmp_path / "annotations" / "mine.json", two_images())
    with pytest.raises(TagformerError, match=r"name a file itself, as coco:.*annotations/mine\.json"):
        load(tmp_path, "all", {})
