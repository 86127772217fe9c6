from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tagformer.data import load_dataset
from tagformer.data.formats.coco import CocoFormat
from tagformer.data.formats.coco.sizes import size_class
from tagformer.errors import TagformerError

FORMAT = CocoFormat()
load, splits = FORMAT.load, FORMAT.splits

CATEGORIES = [
    {"id": 18, "name": "dog"},
    {"id": 1, "name": "person"},
    {"id": 17, "name": "cat"},
]


def annotation(number: int, image: int, category: int, box: tuple[float, ...], **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(box), **more}


def instances(annotations: list[dict[str, Any]], images: int = 3) -> dict[str, Any]:
    """Pictures 10, 11, ... of 200 x 100 pixels."""
    return {
        "images": [
            {"id": 10 + i, "file_name": f"{10 + i:012d}.jpg", "width": 200, "height": 100} for i in range(images)
        ],
        "annotations": annotations,
        "categories": CATEGORIES,
    }


def write(file: Path, content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A COCO tree: a train split of three images, one of them without annotations, and a val split of one."""
    train = instances(
        [
            annotation(1, 10, 18, (20, 10, 40, 50), area=900.0),
            annotation(2, 10, 18, (0, 0, 60, 60), area=3000.0),
            annotation(3, 10, 1, (0, 0, 10, 10), area=50.0),
            annotation(4, 12, 17, (0, 0, 200, 100), area=20000.0, iscrowd=1),
        ]
    )
    val = instances([annotation(7, 10, 1, (0, 0, 100, 100), area=9216.0)], images=1)
    write(tmp_path / "annotations" / "instances_train2017.json", train)
    write(tmp_path / "annotations" / "instances_val2017.json", val)
    return tmp_path


def test_labels_are_in_the_order_of_the_category_ids(tree: Path) -> None:
    dataset = load(tree, "train", {})
    assert dataset.label_space.names == ("person", "cat", "dog")
    assert dataset.ids == ["10", "12"]
    assert dataset.labels.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert not dataset.exhaustive


def test_images_lie_in_the_folder_of_the_split(tree: Path) -> None:
    assert load(tree, "train", {}).images == [tree / "train2017" / f"{i:012d}.jpg" for i in (10, 12)]
    assert load(tree, "test", {}).images == [tree / "val2017" / f"{10:012d}.jpg"]
    assert load(tree, "test", {"images": "/photos"}).images == [Path("/photos") / f"{10:012d}.jpg"]


def test_the_folder_of_images_may_be_given_from_the_home_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree))
    (tree / "photos").mkdir()
    dataset = load_dataset(f"coco:{tree}?images=~/photos", "test", on_bad_image="keep")
    assert dataset.images == [tree / "photos" / f"{10:012d}.jpg"]


def test_images_without_annotations_are_kept_when_asked_for(tree: Path) -> None:
    dataset = load(tree, "train", {"annotated": "all"})
    assert dataset.ids == ["10", "11", "12"]
    assert dataset.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_a_size_is_that_of_the_largest_single_instance(tree: Path) -> None:
    dataset = load(tree, "train", {})
    assert dataset.sizes is not None
    assert dataset.sizes.dtype == torch.int8
    assert dataset.sizes.tolist() == [[1, 0, 2], [0, 0, 0]]  # the crowd has a label but no size


@pytest.mark.parametrize(("area", "size"), [(0.5, 1), (1023, 1), (1024, 2), (9215, 2), (9216, 3), (640 * 480, 3)])
def test_sizes_are_bounded_by_32_and_96_pixels_squared(tmp_path: Path, area: float, size: int) -> None:
    file = write(tmp_path / "one.json", instances([annotation(1, 10, 1, (0, 0, 5, 5), area=area)]))
    dataset = load(file, "all", {})
    assert dataset.sizes is not None
    assert dataset.sizes.tolist() == [[size, 0, 0]]
    assert size_class(area) == size


def test_an_instance_without_an_area_has_that_of_its_box(tmp_path: Path) -> None:
    file = write(tmp_path / "one.json", instances([annotation(1, 10, 1, (0, 0, 32, 32))]))
    dataset = load(file, "all", {})
    assert dataset.sizes is not None
    assert dataset.sizes.tolist() == [[2, 0, 0]]


def test_an_instance_of_area_zero_is_small_and_not_absent(tmp_path: Path) -> None:
    file = write(tmp_path / "one.json", instances([annotation(1, 10, 1, (0, 0, 0, 0), area=0)]))
    dataset = load(file, "all", {})
    assert dataset.sizes is not None
    assert dataset.labels.tolist() == [[1, 0, 0]]
    assert dataset.sizes.tolist() == [[1, 0, 0]]


def test_boxes_are_fractions_of_the_image_and_leave_crowds_out(tree: Path) -> None:
    dataset = load(tree, "train", {})
    assert dataset.boxes is not None
    first, crowd = dataset.boxes
    assert [box.label for box in first] == ["dog", "dog", "person"]
    assert first[0].corners == pytest.approx((0.1, 0.1, 0.3, 0.6))
    assert crowd == ()


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


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_crowd_beside_an_instance_leaves_it_its_size(tmp_path: Path, order: tuple[int, int]) -> None:
    both = [
        annotation(1, 10, 1, (0, 0, 40, 40), area=1600),
        annotation(2, 10, 1, (0, 0, 200, 100), area=20000, iscrowd=1),
    ]
    dataset = load(write(tmp_path / "one.json", instances([both[i] for i in order])), "all", {})
    assert dataset.sizes is not None
    assert dataset.labels.tolist() == [[1, 0, 0]]
    assert dataset.sizes.tolist() == [[2, 0, 0]]
    assert [len(own) for own in dataset.boxes or ()] == [1]


@pytest.mark.parametrize("gone", [("width", "height"), ("height",)])
def test_images_without_width_or_height_have_labels_and_sizes_but_no_boxes(
    tmp_path: Path, gone: tuple[str, ...]
) -> None:
    content = instances([annotation(1, 10, 1, (0, 0, 40, 40)), annotation(2, 11, 18, (0, 0, 5, 5))])
    for key in gone:
        del content["images"][1][key]
    dataset = load(write(tmp_path / "one.json", content), "all", {})
    assert dataset.labels.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert dataset.sizes is not None
    assert dataset.sizes.tolist() == [[2, 0, 0], [0, 0, 1]]
    assert dataset.boxes is None


def test_an_image_without_objects_needs_no_width(tmp_path: Path) -> None:
    content = instances([annotation(1, 10, 1, (0, 0, 40, 50))])
    del content["images"][1]["width"]
    dataset = load(write(tmp_path / "one.json", content), "all", {"annotated": "all"})
    assert dataset.boxes is not None
    assert [[box.corners for box in own] for own in dataset.boxes] == [[(0.0, 0.0, 0.2, 0.5)], [], []]


def test_boxes_are_given_up_where_one_of_two_splits_has_none(tree: Path) -> None:
    content = instances([annotation(7, 10, 1, (0, 0, 100, 100), area=9216.0)], images=1)
    del content["images"][0]["width"]
    write(tree / "annotations" / "instances_val2017.json", content)
    both = load(tree, "all", {})
    assert both.boxes is None
    assert both.sizes is not None
    assert both.sizes.tolist() == [[1, 0, 2], [0, 0, 0], [3, 0, 0]]


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
def test_a_file_that_is_not_coco_is_refused_by_name(tmp_path: Path, content: Any, message: str) -> None:
    file = write(tmp_path / "mine.json", content)
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(file) in str(caught.value)


def test_broken_json_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"images": [],\n"annotations": [}\n', encoding="utf-8")
    with pytest.raises(TagformerError, match=r"mine\.json, line 2: not valid JSON"):
        load(file, "all", {})


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"has no annotations/instances_train2017\.json"):
        splits(tmp_path, {})


def test_another_value_of_annotated_is_refused(tree: Path) -> None:
    with pytest.raises(TagformerError, match="annotated=some: use only or all"):
        load(tree, "train", {"annotated": "some"})


def test_splits_with_other_categories_are_not_put_together(tree: Path) -> None:
    content = instances([annotation(7, 10, 1, (0, 0, 100, 100))], images=1)
    content["categories"] = CATEGORIES[:2]
    write(tree / "annotations" / "instances_val2017.json", content)
    with pytest.raises(TagformerError, match="the categories of the two splits differ"):
        load(tree, "all", {})


# Real annotations


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


def test_two_images_with_one_id_are_refused(tree: Path) -> None:
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


# What our own files say beyond COCO


def own_file(tmp_path: Path, **changes: Any) -> Path:
    """Pictures 10 (a dog, perhaps a cat), 11 (nothing known but that there is no cat) and 12 (nothing)."""
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


def test_the_splits_of_our_own_files_are_read(tmp_path: Path) -> None:
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
def test_our_own_files_are_refused_where_they_are_wrong(
    tmp_path: Path, image: dict[str, Any], extras: Any, message: str
) -> None:
    content = instances([])
    content["images"][2] |= image
    file = write(tmp_path / "mine.json", {**content, "tagformer": extras})
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(file) in str(caught.value)
