"""Labels, splits and images of COCO instances; the real annotations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tagformer.data import load_dataset
from tagformer.data.formats.coco import CocoFormat
from tagformer.errors import TagformerError
from tests.data_files.coco import annotation, instances, write

FORMAT = CocoFormat()
load, splits = FORMAT.load, FORMAT.splits


def test_labels_are_in_the_order_of_the_category_ids(tree: Path) -> None:
    dataset = load(tree, "train", {})
    assert dataset.label_space.names == ("person", "cat", "dog")
    assert dataset.ids == ["10", "12"]
    assert dataset.labels.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert not dataset.exhaustive


def test_images_are_in_the_folder_of_the_split(tree: Path) -> None:
    assert load(tree, "train", {}).images == [tree / "train2017" / f"{i:012d}.jpg" for i in (10, 12)]
    assert load(tree, "test", {}).images == [tree / "val2017" / f"{10:012d}.jpg"]
    assert load(tree, "test", {"images": "/photos"}).images == [Path("/photos") / f"{10:012d}.jpg"]


def test_the_folder_of_images_may_be_given_from_the_home_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree))
    (tree / "photos").mkdir()
    dataset = load_dataset(f"coco:{tree}?images=~/photos", "test", on_bad_image="keep")
    assert dataset.images == [tree / "photos" / f"{10:012d}.jpg"]


def test_images_without_annotations_are_kept_on_request(tree: Path) -> None:
    dataset = load(tree, "train", {"annotated": "all"})
    assert dataset.ids == ["10", "11", "12"]
    assert dataset.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_splits_are_those_that_are_there(tree: Path) -> None:
    assert splits(tree, {}) == ("train", "test")
    (tree / "annotations" / "instances_train2017.json").unlink()
    assert splits(tree, {}) == ("test",)


def test_the_2014_layout_is_read(tmp_path: Path) -> None:
    write(tmp_path / "annotations" / "instances_val2014.json", instances([annotation(1, 10, 1, (0, 0, 5, 5))]))
    assert splits(tmp_path, {}) == ("test",)
    assert load(tmp_path, "test", {}).images == [tmp_path / "val2014" / f"{10:012d}.jpg"]


def test_ids_that_differ_between_the_splits_are_kept(tree: Path) -> None:
    content = instances([annotation(7, 12, 1, (0, 0, 100, 100))])
    content["images"] = [{"id": 12, "file_name": "b.jpg"}]
    write(tree / "annotations" / "instances_val2017.json", content)
    train = json.loads((tree / "annotations" / "instances_train2017.json").read_text())
    train["annotations"] = [entry for entry in train["annotations"] if entry["image_id"] == 10]
    write(tree / "annotations" / "instances_train2017.json", train)
    assert load(tree, "all", {}).ids == ["10", "12"]


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_the_year_can_be_fixed(tmp_path: Path, year: str) -> None:
    for other, image in (("2014", 10), ("2017", 11)):
        for stem in ("train", "val"):
            content = instances([annotation(1, image, 1, (0, 0, 5, 5))])
            write(tmp_path / "annotations" / f"instances_{stem}{other}.json", content)
    assert CocoFormat(year).splits(tmp_path, {}) == ("train", "test")
    name = {"2014": f"{10:012d}.jpg", "2017": f"{11:012d}.jpg"}[year]
    assert CocoFormat(year).load(tmp_path, "test", {}).images == [tmp_path / f"val{year}" / name]
    assert len(CocoFormat(year).load(tmp_path, "all", {})) == 2
    assert f"instances_{{train,val}}{year}.json" in CocoFormat(year).layout


def test_a_fixed_year_that_is_not_there_is_named(tree: Path) -> None:
    expected = r"no annotations/instances_train2014\.json or instances_val2014\.json"
    with pytest.raises(TagformerError, match=expected) as caught:
        CocoFormat("2014").splits(tree, {})
    assert str(tree) in str(caught.value)
    with pytest.raises(TagformerError, match=expected):
        CocoFormat("2014").load(tree / "annotations" / "instances_val2017.json", "all", {})


def test_the_splits_are_of_one_year(tree: Path) -> None:
    """Most of val2014 is in train2017: the two must not be put together."""
    (tree / "annotations" / "instances_val2017.json").unlink()
    write(tree / "annotations" / "instances_val2014.json", instances([annotation(1, 10, 1, (0, 0, 5, 5))]))
    assert splits(tree, {}) == ("train",)
    assert load(tree, "all", {}).images == [tree / "train2017" / f"{i:012d}.jpg" for i in (10, 12)]
    write(tree / "annotations" / "instances_train2014.json", instances([annotation(1, 11, 1, (0, 0, 5, 5))]))
    assert splits(tree, {}) == ("train", "test")
    assert load(tree, "train", {}).images == [tree / "train2014" / f"{11:012d}.jpg"]


def test_all_splits_are_put_one_after_the_other(tree: Path) -> None:
    train, test, both = (load(tree, split, {}) for split in ("train", "test", "all"))
    assert both.ids == ["train/10", "train/12", "test/10"]  # the splits number their images alike
    assert both.origins == [*(train.origins or ()), *(test.origins or ())]
    assert both.images == [*train.images, *test.images]
    assert torch.equal(both.labels, torch.cat([train.labels, test.labels]))
    assert both.sizes is not None
    assert both.sizes.tolist() == [[1, 0, 2], [0, 0, 0], [3, 0, 0]]
    assert both.boxes == [*(train.boxes or ()), *(test.boxes or ())]


def test_one_json_file_is_a_data_set_without_splits(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.json", instances([annotation(1, 11, 17, (0, 0, 5, 5))]))
    assert splits(file, {}) == ()
    dataset = load(file, "all", {})
    assert dataset.images == [tmp_path / f"{11:012d}.jpg"]
    assert dataset.origins == [f"{file}, image 11"]


@pytest.mark.parametrize(("split", "images", "boxes"), [("train", 126, 929), ("test", 128, 898)])
def test_real_coco_has_the_published_counts(shared: Path, split: str, images: int, boxes: int) -> None:
    dataset = load_dataset(f"coco:{shared / 'data' / 'coco256'}", split)
    assert len(dataset) == images
    assert len(dataset.label_space) == 80
    assert dataset.label_space.names[:3] == ("person", "bicycle", "car")
    assert dataset.label_space.names[-1] == "toothbrush"
    assert sum(len(own) for own in dataset.boxes or ()) == boxes


@pytest.mark.parametrize(("split", "file"), [("train", "train2017"), ("test", "val2017")])
def test_the_labels_and_sizes_of_real_coco_are_those_of_a_plain_count(shared: Path, split: str, file: str) -> None:
    folder = shared / "data" / "coco256"
    dataset = load_dataset(f"coco:{folder}", split)
    content = json.loads((folder / "annotations" / f"instances_{file}.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    largest: dict[tuple[str, str], float] = {}
    for entry in content["annotations"]:
        pair = str(entry["image_id"]), names[entry["category_id"]]
        largest[pair] = max(largest.get(pair, 0), entry["area"])
    assert dataset.sizes is not None
    found = {
        (dataset.ids[row], dataset.label_space.names[column]): dataset.sizes[row, column].item()
        for row, column in torch.nonzero(dataset.labels == 1).tolist()
    }
    assert found == {pair: 1 if area < 1024 else 2 if area < 9216 else 3 for pair, area in largest.items()}
    assert sum(size == 3 for size in found.values()) == {"train": 201, "test": 199}[split]


def test_real_coco_is_of_2017(shared: Path) -> None:
    folder = shared / "data" / "coco256"
    dataset = CocoFormat("2017").load(folder, "all", {})
    assert len(dataset) == 126 + 128
    assert dataset.images[0].is_file()
    assert dataset.images[-1].is_file()
    assert sum(len(own) for own in dataset.boxes or ()) == 929 + 898
    with pytest.raises(TagformerError, match=r"no annotations/instances_train2014\.json"):
        CocoFormat("2014").splits(folder, {})


def test_all_images_of_real_coco_can_be_kept(shared: Path) -> None:
    spec = f"coco:{shared / 'data' / 'coco256'}?annotated=all"
    dataset = load_dataset(spec, "train")
    assert len(dataset) == 128
    assert int((dataset.labels == 1).any(1).sum()) == 126
