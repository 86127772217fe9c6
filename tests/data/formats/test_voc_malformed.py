"""Malformed VOC trees are rejected, with the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagformer.data.formats.voc import VocFormat
from tagformer.errors import TagformerError
from tests.data_files.voc import CAR, CHAIRS, LISTS

FORMAT = VocFormat("2007")
load, splits = FORMAT.load, FORMAT.splits


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dog_trainval.txt", b"000005 -1\n000012 -1\n", r" has no image '000017' of .*trainval\.txt, line 3"),
        ("dog_trainval.txt", b"000005 -1\n000099 -1\n", r", line 2: image '000099' is not in .*trainval\.txt"),
        ("dog_trainval.txt", b"000005 -1\n000012 2\n", ", line 2: '000012 2': write an image's id and 1, 0 or -1"),
        ("dog_trainval.txt", b"000005 -1\n000012\n", ", line 2: '000012': write"),
        ("dog_trainval.txt", b"000005 -1\n000012 1 1\n", ", line 2: '000012 1 1': write"),
        ("dog_trainval.txt", b"000005 -1\n000005  1\n", ", line 2: '000005' is a duplicate of line 1"),
        ("dog_trainval.txt", b"000005 -1\n\n000012 -1\n", ", line 2 is empty"),
        ("dog_trainval.txt", b"000005 -1\n\xff 1\n", ", line 2 is not UTF-8"),
        ("dog_trainval.txt", b"", " is empty"),
        ("dog_trainval.txt", None, r" does not exist: it gives the images of .*trainval\.txt that show a dog"),
        ("trainval.txt", b"000005\n000012\n000005\n", ", line 3: '000005' is a duplicate of .*, line 1"),
        ("trainval.txt", b"", " is empty"),
    ],
)
def test_a_malformed_list_is_rejected_with_its_line(
    voc_lists: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    file = voc_lists / name
    file.write_bytes(content) if content is not None else file.unlink()
    with pytest.raises(TagformerError, match=message) as caught:
        load(tmp_path, "train", {})
    assert str(caught.value).startswith(str(file))


def test_an_image_in_two_lists_is_rejected(voc_lists: Path, tmp_path: Path) -> None:
    (voc_lists / "test.txt").write_text("000001\n000005\n")
    with pytest.raises(TagformerError, match=r"test\.txt, line 2: '000005' is a duplicate of .*trainval\.txt, line 1"):
        load(tmp_path, "all", {})


OBJECT = "<object><name>dog</name><bndbox>{}</bndbox></object>"


SIDES = "<xmin>{}</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>20</ymax>"


SIZE = "<size><width>50</width><height>40</height></size>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation>\n<object>\n</annotation>", r", line 3: not valid XML \(mismatched tag\)"),
        ("<annotation>\n<size>", r", line 2: not valid XML \(no element found\)"),
        ("", ", line 1: not valid XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', r": not valid XML \(unknown encoding: klingon\)"),
        ("<html></html>", r" is not a VOC annotation: its root is <html>"),
        (CHAIRS.replace("sofa", "sofas").strip(), ", object 3: 'sofas' is not one .* .did you mean 'sofa'"),
        (CHAIRS.replace("<name>sofa</name>", "").strip(), ", object 3: '' is not one of VOC's 20 classes"),
        (CAR.replace("<difficult>1", "<difficult>yes").strip(), ", object 2: difficult is 'yes': use 0 or 1"),
        (f"<annotation>{SIZE}{OBJECT.format('')}</annotation>", ", object 1: bndbox/xmin is ''"),
        (f"<annotation>{SIZE}{OBJECT.format(SIDES.format('a', 9))}</annotation>", ", object 1: bndbox/xmin is 'a'"),
        (f"<annotation>{SIZE}{OBJECT.format(SIDES.format('nan', 9))}</annotation>", "bndbox/xmin is 'nan'"),
        (f"<annotation>{SIZE}{OBJECT.format(SIDES.format(9, 7))}</annotation>", ", object 1: the box ends before"),
        (f"<annotation>{OBJECT.format(SIDES.format(1, 9))}</annotation>", ": size/width is ''"),
        (
            f"<annotation>{SIZE.replace('40', '0')}{OBJECT.format(SIDES.format(1, 9))}</annotation>",
            ": the image is 50 x 0",
        ),
    ],
)
def test_a_malformed_annotation_is_rejected_by_name(
    voc_annotations: Path, tmp_path: Path, content: str, message: str
) -> None:
    file = voc_annotations / "000012.xml"
    file.write_text(content)
    with pytest.raises(TagformerError, match=message) as caught:
        load(tmp_path, "train", {})
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(("split", "image", "line"), [("train", "000012", 2), ("test", "000001", 1)])
def test_a_missing_annotation_is_rejected_with_the_line_of_its_image(
    voc_annotations: Path, tmp_path: Path, split: str, image: str, line: int
) -> None:
    (voc_annotations / f"{image}.xml").unlink()
    with pytest.raises(TagformerError, match=rf"{split}.*, line {line}: .*{image}\.xml does not exist.*labels=files"):
        load(tmp_path, split, {})


def test_missing_annotations_do_not_count_as_withheld_beside_lists(voc_annotations: Path, tmp_path: Path) -> None:
    for image in LISTS["test"]:
        (voc_annotations / f"{image}.xml").unlink()
    with pytest.raises(TagformerError, match=r"test\.txt, line 1: .*000001\.xml does not exist"):
        load(tmp_path, "test", {})


def test_a_folder_that_is_not_a_voc_tree_is_rejected(voc_lists: Path, tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match="has no VOCdevkit/VOC2012/ImageSets/Main"):
        VocFormat("2012").splits(tmp_path, {})
    for name in LISTS:
        (voc_lists / f"{name}.txt").unlink()
    with pytest.raises(TagformerError, match=r"Main has none of train\.txt, val\.txt"):
        splits(tmp_path, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "json"}, "option labels=json: use files or xml"),
        ({"train": "all"}, "option train=all: use trainval or train"),
        ({"difficult_train": "-1"}, "option difficult_train=-1: use unknown, absent or present"),
        ({"difficult_test": "positive"}, "option difficult_test=positive: use unknown"),
    ],
)
def test_another_value_of_an_option_is_rejected(
    voc_lists: Path, tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(TagformerError, match=message):
        load(tmp_path, "train", options)


def test_an_official_train_that_is_not_listed_is_rejected(voc_lists: Path, tmp_path: Path) -> None:
    (voc_lists / "train.txt").unlink()
    with pytest.raises(TagformerError, match=r"train=train: .*train\.txt does not exist; use train=trainval"):
        splits(tmp_path, {"train": "train"})
