"""Labels, concepts and splits of CUB; the real files."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tagformer.data.formats.cub import CubFormat
from tagformer.data.formats.cub.attributes import CONCEPTS_112
from tests.data_files.cub import ALL, BLUE, CLASSES, SHAPES, write

FORMAT = CubFormat()
load, splits = FORMAT.load, FORMAT.splits


def states(tree: Path, split: str = "all", **options: str) -> list[list[int]]:
    return load(tree, split, {**ALL, **options}).labels.tolist()


def test_classes_are_targets_and_concepts_extra_labels(tree: Path) -> None:
    dataset = load(tree, "all", ALL)
    concepts = (*SHAPES[:2], BLUE, SHAPES[2])
    assert dataset.label_space.names == (*CLASSES, *concepts)
    assert dataset.label_space.extra == concepts
    assert dataset.label_space.groups == {"class": CLASSES, "has_bill_shape": SHAPES, "has_wing_color": (BLUE,)}
    assert dataset.ids == ["1", "2", "3", "5"]
    assert not dataset.exhaustive
    assert dataset.sizes is None
    assert dataset.boxes is None


def test_images_of_a_class_have_the_attributes_that_half_of_its_annotations_name(tree: Path) -> None:
    assert states(tree) == [[1, 0, 1, 0, 0, 1], [1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 1, 1], [0, 1, 0, 0, 1, 1]]


def test_concepts_can_be_the_targets_without_classes_or_beside_them(tree: Path) -> None:
    alone, both = (load(tree, "all", {**ALL, "targets": targets}) for targets in ("concepts", "both"))
    assert alone.label_space.names == (*SHAPES[:2], BLUE, SHAPES[2])
    assert alone.label_space.groups == {"has_bill_shape": SHAPES, "has_wing_color": (BLUE,)}
    assert alone.labels.tolist() == [[1, 0, 0, 1], [1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert both.label_space.names == (*CLASSES, *alone.label_space.names)
    assert both.labels.tolist() == states(tree)
    assert alone.label_space.extra == both.label_space.extra == ()


def test_classes_without_images_can_be_kept_and_concepts_left_out(tree: Path) -> None:
    dataset = load(tree, "all", {"concepts": "none", "classes": "all"})
    assert dataset.label_space.names == (CLASSES[0], "Laysan_Albatross", CLASSES[1])
    assert dataset.labels.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_attributes_of_an_image_are_unknown_where_not_visible_or_not_annotated(tree: Path) -> None:
    assert states(tree, targets="concepts", attributes="image") == [
        [1, 0, -1, -1],
        [1, 1, -1, -1],
        [-1, -1, 1, -1],
        [-1, -1, -1, 0],
    ]


def test_concepts_that_are_not_visible_may_be_unknown(tree: Path) -> None:
    used = load(tree, "all", {**ALL, "targets": "concepts"})
    unknown = load(tree, "all", {**ALL, "targets": "concepts", "not_visible": "unknown"})
    assert used.labels.tolist() == [[1, 0, 0, 1], [1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert unknown.labels.tolist() == [[1, 0, -1, -1], [1, 0, -1, -1], [-1, -1, 1, -1], [-1, -1, -1, 1]]


def test_images_may_be_listed_in_any_order(tree: Path) -> None:
    file = tree / "images.txt"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    dataset = load(tree, "all", {**ALL, "targets": "concepts", "attributes": "image"})
    assert dataset.ids == ["5", "3", "2", "1"]
    assert dataset.labels.tolist() == [[-1, -1, -1, 0], [-1, -1, 1, -1], [1, 1, -1, -1], [1, 0, -1, -1]]


def test_splits_are_those_of_the_list_with_one_label_space(tree: Path) -> None:
    assert splits(tree, {}) == ("train", "test")
    train, test = (load(tree, split, ALL) for split in ("train", "test"))
    assert (train.ids, test.ids) == (["2", "3"], ["1", "5"])
    assert train.label_space == test.label_space
    assert train.images == [
        tree / "images" / "001.Black_footed_Albatross" / "Black_Footed_Albatross_0009_34.jpg",
        tree / "images" / "003.Sooty_Albatross" / "Sooty_Albatross_0048_1130.jpg",
    ]
    assert train.origins == [f"{tree / 'images.txt'}, line 2", f"{tree / 'images.txt'}, line 3"]
    write(tree / "train_test_split.txt", "1 1\n2 1\n3 1\n5 1\n")
    assert splits(tree, {}) == ("train",)


def test_the_folder_above_is_a_path_too_and_images_may_be_elsewhere(tree: Path) -> None:
    assert splits(tree.parent, {}) == ("train", "test")
    dataset = load(tree.parent, "test", {**ALL, "images": "/photos"})
    assert dataset.ids == ["1", "5"]
    assert dataset.images[0] == Path("/photos/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg")


@pytest.mark.parametrize("place", ["attributes.txt", "attributes/attributes.txt"])
def test_the_names_of_the_attributes_may_be_in_the_folder(tree: Path, place: str) -> None:
    (tree.parent / "attributes.txt").rename(tree / place)
    assert states(tree)[0] == [1, 0, 1, 0, 0, 1]


def test_concepts_are_those_of_the_list_where_there_is_one(tree: Path) -> None:
    write(tree / "attributes" / "concepts112.txt", "2\n4\n")
    dataset = load(tree, "all", {"targets": "concepts"})
    assert dataset.label_space.names == (SHAPES[1], SHAPES[2])
    assert dataset.labels.tolist() == [[0, 1]] * 4


def test_without_a_list_concepts_are_those_of_the_papers(tree: Path) -> None:
    names = [f"has_{number % 28}::{number}" for number in range(1, 313)]
    write(tree.parent / "attributes.txt", "".join(f"{number} {name}\n" for number, name in enumerate(names, 1)))
    row = " ".join("100" if number in (2, 3, 312) else "0" for number in range(1, 313))
    write(tree / "attributes" / "class_attribute_labels_continuous.txt", f"{row}\n" * 3)
    dataset = load(tree, "all", {"targets": "concepts"})
    assert dataset.label_space.names == tuple(names[number - 1] for number in CONCEPTS_112)
    assert dataset.label_space.names_of(dataset.labels[0]) == ["has_2::2", "has_4::312"]


@pytest.fixture
def birds(shared: Path) -> Path:
    return shared / "data" / "cub50"


@pytest.mark.parametrize(
    ("split", "images", "concepts"), [("train", 1500, 20.300), ("test", 1389, 20.417), ("all", 2889, 20.356)]
)
def test_real_cub_has_the_published_counts(birds: Path, split: str, images: int, concepts: float) -> None:
    dataset = load(birds, split, {"targets": "concepts"})
    present = dataset.labels == 1
    assert present.shape == (images, 112)
    assert int((present.any(0) & ~present.all(0)).sum()) == 106
    assert float(present.sum(1).float().mean()) == pytest.approx(concepts, abs=0.001)
    assert len(dataset.label_space.groups) == 28


def test_the_concepts_of_the_papers_are_those_of_the_real_list(birds: Path) -> None:
    listed = [int(number) for number in (birds / "attributes" / "concepts112.txt").read_text().split()]
    assert list(CONCEPTS_112) == listed


def test_real_labels_are_those_of_a_plain_count(birds: Path) -> None:
    dataset = load(birds, "all", {"concepts": "312", "classes": "all"})
    per_cents = np.loadtxt(birds / "attributes" / "class_attribute_labels_continuous.txt")
    classes = np.loadtxt(birds / "image_class_labels.txt", dtype=int)[:, 1]
    assert torch.equal(dataset.labels[:, :200].argmax(1), torch.from_numpy(classes - 1))
    assert bool((dataset.labels[:, :200].sum(1) == 1).all())
    assert np.array_equal(dataset.labels[:, 200:].numpy(), (per_cents >= 50)[classes - 1])
    assert all(image.is_file() for image in dataset.images)


def test_a_file_of_the_official_size_is_read_in_seconds(tree: Path) -> None:
    images = 11788
    write(tree.parent / "attributes.txt", "".join(f"{number} a{number % 28}::{number}\n" for number in range(1, 313)))
    (tree / "images.txt").write_text("".join(f"{number} {number}.jpg\n" for number in range(1, images + 1)))
    (tree / "image_class_labels.txt").write_text("".join(f"{number} 1\n" for number in range(1, images + 1)))
    (tree / "train_test_split.txt").write_text("".join(f"{number} 1\n" for number in range(1, images + 1)))
    lines = [f" {attribute} {attribute % 2} {1 + attribute % 4} 12.345\n" for attribute in range(1, 313)]
    with (tree / "attributes" / "image_attribute_labels.txt").open("w") as stream:
        for number in range(1, images + 1):
            stream.write("".join(f"{number}{line}" for line in lines))
    start = time.perf_counter()
    dataset = load(tree, "all", {**ALL, "targets": "concepts", "attributes": "image"})
    assert time.perf_counter() - start < 20
    expected = [-1 if attribute % 4 == 0 else attribute % 2 for attribute in range(1, 313)]
    assert dataset.label_rows[[0, images - 1]].tolist() == [expected, expected]
