"""Malformed CUB files are rejected, with the line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tagformer.data.formats.cub import CubFormat
from tagformer.errors import TagformerError
from tests.data_files.cub import ALL, FILES, write

FORMAT = CubFormat()
load, splits = FORMAT.load, FORMAT.splits


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
def test_a_malformed_file_is_rejected_with_its_line(tree: Path, name: str, content: str, message: str) -> None:
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
def test_malformed_per_cents_are_rejected_with_their_line(tree: Path, content: str, message: str) -> None:
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
def test_malformed_attributes_of_images_are_rejected_with_their_line(tree: Path, content: str, message: str) -> None:
    (tree / "attributes" / "image_attribute_labels.txt").write_bytes(content.encode("latin-1"))
    with pytest.raises(TagformerError, match=rf"image_attribute_labels\.txt{message}"):
        load(tree, "train", {**ALL, "attributes": "image"})


def test_text_that_is_not_utf8_is_rejected_with_its_line(tree: Path) -> None:
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
def test_another_value_of_an_option_is_rejected(tree: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(TagformerError, match=message):
        load(tree, "train", options)
