"""Labels, splits, sizes and boxes of VOC; the real lists."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats.voc import CLASSES, COLUMNS, VocFormat
from tests.data_files.voc import CHAIRS, LISTS, write_lists

FORMAT = VocFormat("2007")
load, splits = FORMAT.load, FORMAT.splits


def names(dataset: MultiLabelDataset, state: int = 1) -> list[list[str]]:
    return [dataset.label_space.names_of(labels, state) for labels in dataset.labels]


def test_labels_are_the_official_classes_in_alphabetical_order() -> None:
    assert len(CLASSES) == 20
    assert list(CLASSES) == sorted(CLASSES)


def test_train_is_trainval_as_in_the_papers(voc_lists: Path, tmp_path: Path) -> None:
    assert splits(tmp_path, {}) == ("train", "test")
    train, test = (load(tmp_path, split, {}) for split in ("train", "test"))
    assert train.label_space.names == CLASSES
    assert train.ids == ["000005", "000012", "000017"]
    assert names(train) == [["chair"], ["car"], ["horse", "person"]]
    assert test.ids == ["000001", "000002"]
    assert names(test) == [["dog"], ["train"]]
    assert train.images[0] == tmp_path / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000005.jpg"
    assert train.origins == [f"{voc_lists / 'trainval.txt'}, line {line}" for line in (1, 2, 3)]
    assert not train.exhaustive
    assert train.sizes is None
    assert train.boxes is None


def test_the_official_train_and_val_can_be_chosen(voc_lists: Path, tmp_path: Path) -> None:
    options = {"train": "train"}
    assert splits(tmp_path, options) == ("train", "val", "test")
    assert load(tmp_path, "train", options).ids == ["000012", "000017"]
    assert names(load(tmp_path, "val", options)) == [["chair"]]


def test_trainval_is_train_and_val_where_it_is_not_listed(voc_lists: Path, tmp_path: Path) -> None:
    for file in voc_lists.glob("*trainval.txt"):
        file.unlink()
    assert splits(tmp_path, {}) == ("train", "test")
    train = load(tmp_path, "train", {})
    assert train.ids == ["000012", "000017", "000005"]
    assert names(train) == [["car"], ["horse", "person"], ["chair"]]
    assert train.origins is not None
    assert train.origins[2] == f"{voc_lists / 'val.txt'}, line 1"


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (("train", "val", "trainval"), ("train", "val")),
        (("train", "val"), ("train", "val")),
        (("trainval",), ("train",)),
        (("trainval", "val"), ("train",)),
        (("train", "test"), ("train", "test")),
        (("val",), ("val",)),
        (("test",), ("test",)),
    ],
)
def test_splits_are_those_that_are_listed(
    voc_lists: Path, tmp_path: Path, lists: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    for name in LISTS.keys() - set(lists):
        (voc_lists / f"{name}.txt").unlink()
    assert splits(tmp_path, {}) == expected


@pytest.mark.parametrize("path", ["", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_the_path_may_be_any_folder_of_the_tree(voc_lists: Path, tmp_path: Path, path: str) -> None:
    assert len(load(tmp_path / path, "all", {})) == 5


def test_the_year_names_the_folder_that_is_read(voc_lists: Path, tmp_path: Path) -> None:
    other = write_lists(tmp_path / "VOCdevkit" / "VOC2012")
    (other / "test.txt").unlink()
    assert splits(tmp_path, {}) == ("train", "test")
    assert VocFormat("2012").splits(tmp_path, {}) == ("train", "val")
    assert VocFormat("2012").splits(voc_lists.parents[1], {}) == (
        "train",
        "test",
    )  # a folder with lists is taken as it is


def test_a_label_with_only_difficult_objects_is_unknown(voc_lists: Path, tmp_path: Path) -> None:
    assert names(load(tmp_path, "train", {}), -1) == [["sofa"], [], []]
    assert names(load(tmp_path, "test", {}), -1) == [["person"], []]


@pytest.mark.parametrize("labels", ["files", "xml"])
def test_options_choose_the_state_of_difficult_labels(voc_annotations: Path, tmp_path: Path, labels: str) -> None:
    (voc_annotations / "000001.xml").write_text(CHAIRS.replace("sofa", "person").replace("chair", "dog"))
    ml_gcn = {"labels": labels, "difficult_train": "present"}
    assert names(load(tmp_path, "train", ml_gcn))[0] == ["chair", "sofa"]
    assert names(load(tmp_path, "test", ml_gcn), -1)[0] == ["person"]
    c_tran = {"labels": labels, "difficult_train": "absent", "difficult_test": "absent"}
    both = load(tmp_path, "all", c_tran)
    assert names(both)[0] == ["chair"]
    assert names(both)[3] == ["dog"]
    assert not bool((both.labels == -1).any())


def test_objects_give_labels_sizes_and_boxes(voc_annotations: Path, tmp_path: Path) -> None:
    train = load(tmp_path, "train", {})
    assert names(train) == [["chair"], ["car"], ["horse", "person"]]
    assert names(train, -1) == [["sofa"], [], []]
    assert train.sizes is not None
    assert train.boxes is not None
    found = [{CLASSES[c]: size for c, size in enumerate(row) if size} for row in train.sizes.tolist()]
    assert found == [{"chair": 3, "sofa": 1}, {"car": 3}, {"horse": 3, "person": 1}]  # 31^2, 96^2, 20 x 40.5, 200 x 100
    assert [box.label for box in train.boxes[0]] == ["chair", "chair", "sofa"]
    assert train.boxes[0][0].corners == pytest.approx((99 / 500, 199 / 375, 200 / 500, 210 / 375))
    assert train.boxes[0][2].corners == pytest.approx((469 / 500, 344 / 375, 1, 1))
    assert [box.label for box in train.boxes[2]] == ["person", "horse"]  # and no box for the part
    assert train.boxes[2][0].corners == pytest.approx((0.2, 0.1, 0.3, 0.505))
    assert train.boxes[2][1].corners == (0, 0, 1, 1)


def test_the_lists_are_used_where_they_are_chosen(voc_annotations: Path, tmp_path: Path) -> None:
    (voc_annotations / "000012.xml").unlink()
    dataset = load(tmp_path, "all", {"labels": "files"})
    assert names(dataset) == [["chair"], ["car"], ["horse", "person"], ["dog"], ["train"]]
    assert dataset.boxes is None


def test_all_splits_are_put_one_after_the_other(voc_annotations: Path, tmp_path: Path) -> None:
    train, test, both = (load(tmp_path, split, {}) for split in ("train", "test", "all"))
    assert both.ids == [*train.ids, *test.ids]
    assert torch.equal(both.labels, torch.cat([train.labels, test.labels]))
    assert both.boxes == [*(train.boxes or ()), *(test.boxes or ())]


@pytest.mark.parametrize("labels", ["files", "xml"])
def test_labels_of_a_test_that_are_withheld_are_unknown(voc_annotations: Path, tmp_path: Path, labels: str) -> None:
    for file in (*(tmp_path.rglob("*_test.txt")), voc_annotations / "000001.xml", voc_annotations / "000002.xml"):
        file.unlink()
    test = load(tmp_path, "test", {"labels": labels, "difficult_test": "absent"})
    assert test.labels.tolist() == [[-1] * 20] * 2
    assert names(load(tmp_path, "all", {"labels": labels})) == [["chair"], ["car"], ["horse", "person"], [], []]


def test_images_may_be_elsewhere(voc_lists: Path, tmp_path: Path) -> None:
    assert load(tmp_path, "test", {"images": "/photos"}).images[1] == Path("/photos/000002.jpg")


POSITIVES = {
    "person": ((2008, 87), (2007, 90)),
    "sofa": ((229, 143), (223, 132)),
    "chair": ((445, 127), (417, 128)),
    "sheep": ((96, 1), (97, 1)),
    "train": ((261, 2), (259, 0)),
}


@pytest.mark.parametrize(("part", "split", "images"), [(0, "train", 5011), (1, "test", 4952)])
def test_real_voc2007_has_the_published_counts(shared: Path, part: int, split: str, images: int) -> None:
    dataset = load(shared / "data" / "voc2007-labels", split, {})
    assert len(dataset) == images
    present, difficult = dataset.label_rows.count(1).tolist(), dataset.label_rows.count(-1).tolist()
    found = {name: (present[COLUMNS[name]], difficult[COLUMNS[name]]) for name in POSITIVES}
    assert found == {name: counts[part] for name, counts in POSITIVES.items()}


def test_real_voc2007_has_the_official_train_and_val(shared: Path) -> None:
    path = shared / "data" / "voc2007-labels"
    parts = {split: load(path, split, {"train": "train"}) for split in splits(path, {"train": "train"})}
    assert {split: len(dataset) for split, dataset in parts.items()} == {"train": 2501, "val": 2510, "test": 4952}
    whole = load(path, "train", {})
    assert sorted([*parts["train"].ids, *parts["val"].ids]) == sorted(whole.ids)
    counts = [dataset.label_rows.count(1) for dataset in (parts["train"], parts["val"], whole)]
    assert torch.equal(counts[0] + counts[1], counts[2])


@pytest.mark.parametrize(("split", "images", "dogs", "people"), [("train", 2573, 942, 549), ("test", 1003, 366, 214)])
def test_real_photographs_of_voc2012_are_found(shared: Path, split: str, images: int, dogs: int, people: int) -> None:
    dataset = VocFormat("2012").load(shared / "data" / "voc2012-animals", split, {})
    present = dataset.label_rows.count(1)
    assert (len(dataset), int(present[COLUMNS["dog"]]), int(present[COLUMNS["person"]])) == (images, dogs, people)
    assert not int(dataset.label_rows.count(-1).sum())
    assert all(image.is_file() for image in dataset.images if isinstance(image, Path))


def test_the_annotations_of_a_whole_trainval_are_read_in_seconds(tmp_path: Path) -> None:
    folder, lists = tmp_path / "Annotations", tmp_path / "ImageSets" / "Main"
    folder.mkdir()
    lists.mkdir(parents=True)
    ids = [f"{number:06d}" for number in range(1, 5012)]
    (lists / "trainval.txt").write_text("\n".join(ids))
    for image in ids:
        (folder / f"{image}.xml").write_text(CHAIRS.strip())
    start = time.perf_counter()
    dataset = load(tmp_path, "train", {})
    assert time.perf_counter() - start < 10
    assert dataset.label_rows.count(1)[COLUMNS["chair"]] == 5011
