from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tagformer.data.formats.cub import CubFormat
from tagformer.data.formats.cub.attributes import CONCEPTS_112
from tagformer.errors import TagformerError

FORMAT = CubFormat()
load, splits = FORMAT.load, FORMAT.splits

FILES = {
    "images.txt": """
        1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg
        2 001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg
        3 003.Sooty_Albatross/Sooty_Albatross_0048_1130.jpg
        5 003.Sooty_Albatross/Sooty_Albatross_0040_796375.jpg
    """,
    "image_class_labels.txt": "1 1\n2 1\n3 3\n4 2\n5 3\n",
    "classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n3 003.Sooty_Albatross\n",
    "train_test_split.txt": "1 0\n2 1\n3 1\n4 1\n5 0\n",
    "attributes/certainties.txt": "1 not visible\n2 guessing\n3 probably\n4 definitely\n",
    "attributes/class_attribute_labels_continuous.txt": """
        50.0 0.0 49.9999999999 100.0
        0.0 100.0 0.0 0.0
        12.5 0.0 77.7777777778 51.2
    """,
    "attributes/image_attribute_labels.txt": """
        1 1 1 4 27.7080
        1 2 0 3 27.7080
        1 3 0 1 27.7080
        1 4 1 1 5.0
        2 1 1 2 3.4 0
        2 2 1 3 0 7.1 0
        3 3 1 4 1.0
        4 1 1 4 1.0
        5 4 0 4 1.0
    """,
}
ATTRIBUTES = """
    1 has_bill_shape::curved_(up_or_down)
    2 has_bill_shape::dagger
    3 has_wing_color::blue
    4 has_bill_shape::all-purpose
"""
CLASSES = ("Black_footed_Albatross", "Sooty_Albatross")
SHAPES = ("has_bill_shape::curved_(up_or_down)", "has_bill_shape::dagger", "has_bill_shape::all-purpose")
BLUE = "has_wing_color::blue"
ALL = {"concepts": "312"}


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(re.sub(r"(?m)^ +", "", content).lstrip("\n"), encoding="utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A CUB tree as its archive unpacks: attributes.txt lies beside the folder."""
    for name, content in FILES.items():
        write(tmp_path / "CUB_200_2011" / name, content)
    write(tmp_path / "attributes.txt", ATTRIBUTES)
    return tmp_path / "CUB_200_2011"


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


def test_attributes_of_an_image_are_unknown_where_not_visible_or_not_said(tree: Path) -> None:
    assert states(tree, targets="concepts", attributes="image") == [
        [1, 0, -1, -1],
        [1, 1, -1, -1],
        [-1, -1, 1, -1],
        [-1, -1, -1, 0],
    ]


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


def test_the_folder_above_is_a_path_too_and_images_may_lie_elsewhere(tree: Path) -> None:
    assert splits(tree.parent, {}) == ("train", "test")
    dataset = load(tree.parent, "test", {**ALL, "images": "/photos"})
    assert dataset.ids == ["1", "5"]
    assert dataset.images[0] == Path("/photos/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg")


@pytest.mark.parametrize("place", ["attributes.txt", "attributes/attributes.txt"])
def test_the_names_of_the_attributes_may_lie_in_the_folder(tree: Path, place: str) -> None:
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


# Malformed files


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images.txt", "", r"images\.txt is empty"),
        ("images.txt", "1 a.jpg\n2\n", r"images\.txt, line 2: '2': write an image's number and its file"),
        ("images.txt", "1 a.jpg\nb 2.jpg\n", r"images\.txt, line 2: 'b' is not a number"),
        ("images.txt", f"{'9' * 5000} a.jpg\n", r"images\.txt, line 1: '9+' is not a number"),
        ("images.txt", "1 a.jpg\n2 b.jpg\n1 c.jpg\n", r"images\.txt, line 3: '1' is a duplicate of line 1"),
        ("images.txt", "1 a.jpg\n2 a.jpg\n", r"images\.txt, line 2: 'a\.jpg' is a duplicate of line 1"),
        ("images.txt", "1 a.jpg\n9 b.jpg\n", r"image_class_labels\.txt has no image 9 \(images\.txt, line 2\)"),
        ("image_class_labels.txt", "1 1\n2 4\n", r"image_class_labels\.txt, line 2: '2 4'.* of its class, 1 to 3"),
        ("image_class_labels.txt", "1 1\n2 one\n", r"image_class_labels\.txt, line 2: '2 one'"),
        ("train_test_split.txt", "1 1\n2 2\n", r"train_test_split\.txt, line 2: '2 2': .* 1 \(train\) or 0 \(test\)"),
        ("train_test_split.txt", "1 1\n2 1\n", r"train_test_split\.txt has no image 3 \(images\.txt, line 3\)"),
        ("classes.txt", "1 001.a\n3 003.b\n", r"classes\.txt, line 2: the number is 3: .* numbered from 1"),
        ("classes.txt", "1 001.a\n2 002.b\n3 003.a\n", r"CUB_200_2011: duplicate label 'a'"),
        ("../attributes.txt", "1\n", r"attributes\.txt, line 1: '1': write a number and a name"),
        ("attributes/concepts112.txt", "1\n9\n", r"concepts112\.txt, line 2: '9': .* 1 to 4"),
        ("attributes/concepts112.txt", "1\n1\n", r"concepts112\.txt, line 2: '1': write each attribute once"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tree: Path, name: str, content: str, message: str) -> None:
    write(tree / name, content)
    with pytest.raises(TagformerError, match=message) as caught:
        load(tree, "train", {} if "112" in name else ALL)
    assert str(tree.parent) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 2 3 4\n1 2 3\n", "line 2: 3 numbers for the 4 attributes of attributes.txt"),
        ("1 2 3 4\n1 2 3 x\n", "line 2: could not convert string to float: 'x': write per cents"),
        ("1 2 3 4\n1 2 3 101\n", "line 2: a number out of range"),
        ("1 2 3 nan\n", "line 1: a number out of range"),
        ("1 2 3 4\n1 2 3 4\n", " has 2 lines for the 3 classes"),
    ],
)
def test_malformed_per_cents_are_refused_with_their_line(tree: Path, content: str, message: str) -> None:
    write(tree / "attributes" / "class_attribute_labels_continuous.txt", content)
    with pytest.raises(TagformerError, match=rf"class_attribute_labels_continuous\.txt,? ?{message}"):
        load(tree, "train", ALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 1 1 4 2.5\n\n1 2 0\n", r", line 3: '1 2 0': write"),
        ("1 1 1 4 2.5\n1 two 0 4 2.5\n", ", line 2: '1 two 0 4 2.5'"),
        ("1 1 1 4 2.5\n1 5 0 4 2.5\n", r", line 2: '1 5 0 4 2\.5': .* an attribute \(1 to 4\)"),
        ("1 1 1 4 2.5\n1 0 0 4 2.5\n", ", line 2: '1 0 0 4 2.5'"),
        ("1 1 1 4 2.5\n1 2 2 4 2.5\n", ", line 2: '1 2 2 4 2.5': .* 0 or 1"),
        ("1 1 1 4 2.5\n1 2 1 5 2.5\n", ", line 2: '1 2 1 5 2.5': .* the certainty 1 to 4"),
        ("1 1 1 4 2.5\n99999999999999999999 2 1 4 2.5\n", ", line 2: '9+ 2 1 4 2.5'"),
        ("1 1 1 4 2.5\n1 2 1 4 2.5\n1 1 0 4\n", ", line 3: attribute 1 of image 1 is a duplicate of line 1"),
        ("1 1 1 4\n\xff\xfe 1 0 4\n", ", line 2: '"),
        ("", " is empty"),
    ],
)
def test_malformed_attributes_of_images_are_refused_with_their_line(tree: Path, content: str, message: str) -> None:
    (tree / "attributes" / "image_attribute_labels.txt").write_bytes(content.encode("latin-1"))
    with pytest.raises(TagformerError, match=rf"image_attribute_labels\.txt{message}"):
        load(tree, "train", {**ALL, "attributes": "image"})


def test_text_that_is_not_utf8_is_refused_with_its_line(tree: Path) -> None:
    (tree / "classes.txt").write_bytes(b"1 001.Albatross\n2 002.\xff\n")
    with pytest.raises(TagformerError, match=r"classes\.txt, line 2 is not UTF-8"):
        load(tree, "train", ALL)


@pytest.mark.parametrize("name", [*(name for name in FILES if "certainties" not in name), "../attributes.txt"])
def test_a_missing_file_is_named(tree: Path, name: str) -> None:
    (tree / name).unlink()
    options = {**ALL, "attributes": "image" if "image_attribute" in name else "class"}
    with pytest.raises(TagformerError, match=re.escape(Path(name).name)):
        load(tree, "train", options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": "class"}, "option targets=class: use classes, concepts or both"),
        ({"concepts": "100"}, "option concepts=100: use 112, 312 or none"),
        ({"attributes": "classes"}, "option attributes=classes: use class or image"),
        ({"classes": "some"}, "option classes=some: use used or all"),
        ({"concepts": "none", "targets": "both"}, "concepts=none leaves nothing for targets=both"),
        ({"concepts": "112"}, "has 4 attributes, too few for concepts=112: use concepts=312"),
    ],
)
def test_another_value_of_an_option_is_refused(tree: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(TagformerError, match=message):
        load(tree, "train", options)


# The real files


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
