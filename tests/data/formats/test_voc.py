from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats.voc import CLASSES, COLUMNS, VocFormat
from tagformer.errors import TagformerError

FORMAT = VocFormat("2007")
load, splits = FORMAT.load, FORMAT.splits

YEAR = "2007"
LISTS = {"train": ("000012", "000017"), "val": ("000005",), "test": ("000001", "000002")}
LISTS["trainval"] = ("000005", "000012", "000017")
# image -> class -> state, as in the lists of the classes: 1, or 0 where all objects are difficult
STATES = {
    "000005": {"chair": 1, "sofa": 0},
    "000012": {"car": 1},
    "000017": {"person": 1, "horse": 1},
    "000001": {"dog": 1, "person": 0},
    "000002": {"train": 1},
}

# 500 x 375 pixels: a chair of 101 x 11 pixels and a difficult one of 64 x 144 = 96 x 96, and a difficult sofa
CHAIRS = """
<annotation>
    <folder>VOC2007</folder>
    <filename>000005.jpg</filename>
    <size><width>500</width><height>375</height><depth>3</depth></size>
    <segmented>0</segmented>
    <object>
        <name>chair</name><pose>Rear</pose><truncated>0</truncated><difficult>0</difficult>
        <bndbox><xmin>100</xmin><ymin>200</ymin><xmax>200</xmax><ymax>210</ymax></bndbox>
    </object>
    <object>
        <name>chair</name><pose>Rear</pose><truncated>0</truncated><difficult>1</difficult>
        <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>64</xmax><ymax>144</ymax></bndbox>
    </object>
    <object>
        <name>sofa</name><pose>Rear</pose><truncated>0</truncated><difficult>1</difficult>
        <bndbox><xmin>470</xmin><ymin>345</ymin><xmax>500</xmax><ymax>375</ymax></bndbox>
    </object>
</annotation>
"""
# Objects of 2012 have parts with boxes of their own, and decimals
RIDER = """
<annotation>
    <size><width>200</width><height>100</height><depth>3</depth></size>
    <object>
        <name>person</name>
        <bndbox><xmin>41.0</xmin><ymin>11.0</ymin><xmax>60.000000001</xmax><ymax>50.5</ymax></bndbox>
        <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>
    </object>
    <object>
        <name>horse</name><difficult>0</difficult>
        <bndbox><xmax>200</xmax><xmin>1</xmin><ymax>100</ymax><ymin>1</ymin></bndbox>
    </object>
</annotation>
"""
CAR = CHAIRS.replace("chair", "car").replace("sofa", "car")
EMPTY = "<annotation><filename>x.jpg</filename></annotation>"


def write_lists(root: Path) -> Path:
    """ImageSets/Main with the official line ends: CRLF, two blanks before a 1 or 0, one before -1."""
    main = root / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for name, ids in LISTS.items():
        (main / f"{name}.txt").write_bytes("".join(f"{image}\r\n" for image in ids).encode())
        for label in CLASSES:
            lines = (f"{image} {STATES[image].get(label, -1):2}\r\n" for image in ids)
            (main / f"{label}_{name}.txt").write_bytes("".join(lines).encode())
    return main


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """The lists of a VOC2007 tree without Annotations/."""
    return write_lists(tmp_path / "VOCdevkit" / "VOC2007")


@pytest.fixture
def annotations(main: Path) -> Path:
    """Annotations/ beside the lists."""
    folder = main.parents[1] / "Annotations"
    folder.mkdir()
    for image, content in {"000005": CHAIRS, "000012": CAR, "000017": RIDER, "000001": EMPTY, "000002": EMPTY}.items():
        (folder / f"{image}.xml").write_text(content.strip())
    return folder


def names(dataset: MultiLabelDataset, state: int = 1) -> list[list[str]]:
    return [dataset.label_space.names_of(labels, state) for labels in dataset.labels]


def test_labels_are_the_official_classes_in_alphabetical_order() -> None:
    assert len(CLASSES) == 20
    assert list(CLASSES) == sorted(CLASSES)


def test_train_is_trainval_as_in_the_papers(main: Path, tmp_path: Path) -> None:
    assert splits(tmp_path, {}) == ("train", "test")
    train, test = (load(tmp_path, split, {}) for split in ("train", "test"))
    assert train.label_space.names == CLASSES
    assert train.ids == ["000005", "000012", "000017"]
    assert names(train) == [["chair"], ["car"], ["horse", "person"]]
    assert test.ids == ["000001", "000002"]
    assert names(test) == [["dog"], ["train"]]
    assert train.images[0] == tmp_path / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000005.jpg"
    assert train.origins == [f"{main / 'trainval.txt'}, line {line}" for line in (1, 2, 3)]
    assert not train.exhaustive
    assert train.sizes is None
    assert train.boxes is None


def test_the_official_train_and_val_can_be_asked_for(main: Path, tmp_path: Path) -> None:
    options = {"train": "train"}
    assert splits(tmp_path, options) == ("train", "val", "test")
    assert load(tmp_path, "train", options).ids == ["000012", "000017"]
    assert names(load(tmp_path, "val", options)) == [["chair"]]


def test_trainval_is_train_and_val_where_it_is_not_listed(main: Path, tmp_path: Path) -> None:
    for file in main.glob("*trainval.txt"):
        file.unlink()
    assert splits(tmp_path, {}) == ("train", "test")
    train = load(tmp_path, "train", {})
    assert train.ids == ["000012", "000017", "000005"]
    assert names(train) == [["car"], ["horse", "person"], ["chair"]]
    assert train.origins is not None
    assert train.origins[2] == f"{main / 'val.txt'}, line 1"


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
    main: Path, tmp_path: Path, lists: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    for name in LISTS.keys() - set(lists):
        (main / f"{name}.txt").unlink()
    assert splits(tmp_path, {}) == expected


@pytest.mark.parametrize("path", ["", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_the_path_may_be_any_folder_of_the_tree(main: Path, tmp_path: Path, path: str) -> None:
    assert len(load(tmp_path / path, "all", {})) == 5


def test_the_year_says_which_folder_is_read(main: Path, tmp_path: Path) -> None:
    other = write_lists(tmp_path / "VOCdevkit" / "VOC2012")
    (other / "test.txt").unlink()
    assert splits(tmp_path, {}) == ("train", "test")
    assert VocFormat("2012").splits(tmp_path, {}) == ("train", "val")
    assert VocFormat("2012").splits(main.parents[1], {}) == ("train", "test")  # a folder with lists is taken as it is


def test_a_label_with_only_difficult_objects_is_unknown(main: Path, tmp_path: Path) -> None:
    assert names(load(tmp_path, "train", {}), -1) == [["sofa"], [], []]
    assert names(load(tmp_path, "test", {}), -1) == [["person"], []]


@pytest.mark.parametrize("labels", ["files", "xml"])
def test_options_say_what_becomes_of_difficult_labels(annotations: Path, tmp_path: Path, labels: str) -> None:
    (annotations / "000001.xml").write_text(CHAIRS.replace("sofa", "person").replace("chair", "dog"))
    ml_gcn = {"labels": labels, "difficult_train": "present"}
    assert names(load(tmp_path, "train", ml_gcn))[0] == ["chair", "sofa"]
    assert names(load(tmp_path, "test", ml_gcn), -1)[0] == ["person"]
    c_tran = {"labels": labels, "difficult_train": "absent", "difficult_test": "absent"}
    both = load(tmp_path, "all", c_tran)
    assert names(both)[0] == ["chair"]
    assert names(both)[3] == ["dog"]
    assert not bool((both.labels == -1).any())


def test_objects_give_labels_sizes_and_boxes(annotations: Path, tmp_path: Path) -> None:
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


def test_the_lists_are_used_where_they_are_asked_for(annotations: Path, tmp_path: Path) -> None:
    (annotations / "000012.xml").unlink()
    dataset = load(tmp_path, "all", {"labels": "files"})
    assert names(dataset) == [["chair"], ["car"], ["horse", "person"], ["dog"], ["train"]]
    assert dataset.boxes is None


def test_all_splits_are_put_one_after_the_other(annotations: Path, tmp_path: Path) -> None:
    train, test, both = (load(tmp_path, split, {}) for split in ("train", "test", "all"))
    assert both.ids == [*train.ids, *test.ids]
    assert torch.equal(both.labels, torch.cat([train.labels, test.labels]))
    assert both.boxes == [*(train.boxes or ()), *(test.boxes or ())]


@pytest.mark.parametrize("labels", ["files", "xml"])
def test_labels_of_a_test_that_are_withheld_are_unknown(annotations: Path, tmp_path: Path, labels: str) -> None:
    for file in (*(tmp_path.rglob("*_test.txt")), annotations / "000001.xml", annotations / "000002.xml"):
        file.unlink()
    test = load(tmp_path, "test", {"labels": labels, "difficult_test": "absent"})
    assert test.labels.tolist() == [[-1] * 20] * 2
    assert names(load(tmp_path, "all", {"labels": labels})) == [["chair"], ["car"], ["horse", "person"], [], []]


def test_images_may_lie_elsewhere(main: Path, tmp_path: Path) -> None:
    assert load(tmp_path, "test", {"images": "/photos"}).images[1] == Path("/photos/000002.jpg")


# Malformed files


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
def test_a_malformed_list_is_refused_with_its_line(
    main: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    file = main / name
    file.write_bytes(content) if content is not None else file.unlink()
    with pytest.raises(TagformerError, match=message) as caught:
        load(tmp_path, "train", {})
    assert str(caught.value).startswith(str(file))


def test_an_image_in_two_lists_is_refused(main: Path, tmp_path: Path) -> None:
    (main / "test.txt").write_text("000001\n000005\n")
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
def test_a_malformed_annotation_is_refused_by_name(
    annotations: Path, tmp_path: Path, content: str, message: str
) -> None:
    file = annotations / "000012.xml"
    file.write_text(content)
    with pytest.raises(TagformerError, match=message) as caught:
        load(tmp_path, "train", {})
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(("split", "image", "line"), [("train", "000012", 2), ("test", "000001", 1)])
def test_a_missing_annotation_is_refused_with_the_line_of_its_image(
    annotations: Path, tmp_path: Path, split: str, image: str, line: int
) -> None:
    (annotations / f"{image}.xml").unlink()
    with pytest.raises(TagformerError, match=rf"{split}.*, line {line}: .*{image}\.xml does not exist.*labels=files"):
        load(tmp_path, split, {})


def test_annotations_that_are_missing_are_not_taken_as_withheld_beside_lists(annotations: Path, tmp_path: Path) -> None:
    for image in LISTS["test"]:
        (annotations / f"{image}.xml").unlink()
    with pytest.raises(TagformerError, match=r"test\.txt, line 1: .*000001\.xml does not exist"):
        load(tmp_path, "test", {})


def test_a_folder_that_is_no_voc_tree_is_refused(main: Path, tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match="has no VOCdevkit/VOC2012/ImageSets/Main"):
        VocFormat("2012").splits(tmp_path, {})
    for name in LISTS:
        (main / f"{name}.txt").unlink()
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
def test_another_value_of_an_option_is_refused(
    main: Path, tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(TagformerError, match=message):
        load(tmp_path, "train", options)


def test_an_official_train_that_is_not_listed_is_refused(main: Path, tmp_path: Path) -> None:
    (main / "train.txt").unlink()
    with pytest.raises(TagformerError, match=r"train=train: .*train\.txt does not exist; use train=trainval"):
        splits(tmp_path, {"train": "train"})


# The real files


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
    folder, main = tmp_path / "Annotations", tmp_path / "ImageSets" / "Main"
    folder.mkdir()
    main.mkdir(parents=True)
    ids = [f"{number:06d}" for number in range(1, 5012)]
    (main / "trainval.txt").write_text("\n".join(ids))
    for image in ids:
        (folder / f"{image}.xml").write_text(CHAIRS.strip())
    start = time.perf_counter()
    dataset = load(tmp_path, "train", {})
    assert time.perf_counter() - start < 10
    assert dataset.label_rows.count(1)[COLUMNS["chair"]] == 5011
