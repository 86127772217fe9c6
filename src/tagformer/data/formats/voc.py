"""PASCAL VOC 2007 and 2012: 20 classes, from the objects in Annotations/ or from the lists of each class.

A class is present where at least one object of it is not difficult. Where all its objects are difficult (hard to
recognise without the rest of the image, and not counted by the official evaluation), options choose its state. The
papers differ:

- ML-GCN trains them as present and leaves them out of the test's average precision: ``difficult_train=present``;
- mmpretrain trains them as absent and leaves them out of the test: ``difficult_train=absent``;
- C-Tran treats them as absent in both: ``difficult_train=absent&difficult_test=absent``.

As in the papers ``train`` is the official trainval and ``test`` the official test. Without a test list, the splits are
the official train and val. VOC 2012's test labels are withheld by its organisers: where only the list exists, all
labels of the test are unknown.

The XML files also give sizes and boxes. Official coordinates count pixels from 1 and include both ends, so a box is
xmax - xmin + 1 pixels wide. A label's size is that of its largest object, difficult or not.

Sources: Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010, and the development kits of 2007 and
2012.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple
from xml.etree import ElementTree

from tagformer.data.columns import Files
from tagformer.data.dataset import NO_SIZE, Box, MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.lists import join_lists, read_names, read_pairs
from tagformer.data.formats._common.options import choose
from tagformer.data.formats._common.split_files import list_folder
from tagformer.data.formats.coco.sizes import size_class
from tagformer.data.sparse_rows import SparseRows
from tagformer.data.splits import split_of_name
from tagformer.errors import TagformerError, did_you_mean
from tagformer.files import read_bytes
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN, LabelSpace

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
COLUMNS = {name: column for column, name in enumerate(CLASSES)}
STATES = {"unknown": UNKNOWN, "absent": ABSENT, "present": PRESENT}


class VocFormat(Format):
    """PASCAL VOC; see the module's text.

    Args:
        year: 2007 or 2012. It is only the name of the folder to look for; any folder with ImageSets/Main is accepted.
    """

    options: ClassVar[Mapping[str, str]] = {
        "labels": "xml: the objects in Annotations/ (default where there is that folder); files: the lists of each "
        "class",
        "train": "trainval (default): the official trainval, where there is a test list; train: the official train "
        "and val",
        "difficult_train": "a class with only difficult objects in train and val: unknown (default), absent or present",
        "difficult_test": "the same in test: unknown (default), absent or present",
        "images": "folder of the images (default: JPEGImages/)",
    }
    path_options = ("images",)

    def __init__(self, year: str) -> None:
        self.year = year
        self.layout = (
            f"VOCdevkit/VOC{year}/ with ImageSets/Main/{{train,val,trainval,test}}.txt, JPEGImages/ID.jpg, and "
            "Annotations/ID.xml or ImageSets/Main/CLASS_{train,val,trainval,test}.txt"
        )

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """Those of train, val and test that the lists give; see the module's text.

        Raises:
            TagformerError: no such folder, no list in it, or an option with another value.
        """
        root = self._root(path)
        return tuple(_lists(root, _choices(root, options)))

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: a duplicate image; a list of a class that does not exist, or has an image too few or too
                many; a state other than 1, 0 and -1; an XML file that does not exist, is not valid, or has an object
                of an unknown class or without a proper box.
        """
        root = self._root(path)
        choices = _choices(root, options)
        files = {
            file: name for name, lists in _lists(root, choices).items() if split in (name, "all") for file in lists
        }
        lists = [read_names(file) for file in files]
        ids, origins = join_lists(list(files), lists)
        annotations: list[_Annotation] = []
        for (file, name), listed in zip(files.items(), lists, strict=True):
            difficult = STATES[choices["difficult_test" if name == "test" else "difficult_train"]]
            if name == "test" and _withheld(root, file, listed):
                annotations += [_Annotation({}, UNKNOWN)] * len(listed)
            elif choices["labels"] == "xml":
                annotations += _from_xml(root, file, listed, difficult)
            else:
                annotations += _from_lists(file, listed, difficult)
        located = choices["labels"] == "xml"
        width = len(CLASSES)
        return MultiLabelDataset(
            name=str(root),
            label_space=LabelSpace(CLASSES),
            images=Files(Path(options.get("images", root / "JPEGImages")), (f"{id_}.jpg" for id_ in ids)),
            labels=SparseRows.of(((image.labels, image.rest) for image in annotations), width),
            ids=ids,
            sizes=SparseRows.of(((image.sizes, NO_SIZE) for image in annotations), width) if located else None,
            boxes=[image.boxes for image in annotations] if located else None,
            origins=origins,
        )

    def _root(self, path: Path) -> Path:
        """The folder with ImageSets/Main."""
        name = f"VOC{self.year}"
        for folder in (path / "VOCdevkit" / name, path / name, path):
            if (folder / "ImageSets" / "Main").is_dir():
                return folder
        raise TagformerError(
            f"{path} has no VOCdevkit/{name}/ImageSets/Main, {name}/ImageSets/Main or ImageSets/Main: "
            "give the folder that contains VOCdevkit."
        )


class _Annotation(NamedTuple):
    """One image: column -> state, the state of the other columns, column -> size, and the boxes."""

    labels: Mapping[int, int]
    rest: int = ABSENT
    sizes: Mapping[int, int] = {}
    boxes: tuple[Box, ...] = ()


def _choices(root: Path, options: Mapping[str, str]) -> dict[str, str]:
    choices = {
        "labels": ("xml", "files") if (root / "Annotations").is_dir() else ("files", "xml"),
        "train": ("trainval", "train"),
        "difficult_train": tuple(STATES),
        "difficult_test": tuple(STATES),
    }
    return choose(options, choices)


def _lists(root: Path, choices: Mapping[str, str]) -> dict[str, list[Path]]:
    """Split -> the lists of its images."""
    main = root / "ImageSets" / "Main"
    existing: dict[str, Path] = {}
    for file in list_folder(main)[0]:
        stem, suffix = os.path.splitext(file.lower())
        name = "trainval" if stem == "trainval" else split_of_name(stem)
        if name and suffix == ".txt" and existing.setdefault(name, main / file) != main / file:
            raise TagformerError(f"{existing[name]} and {main / file} are both of the split '{name}': remove one.")
    if not existing:
        raise TagformerError(f"{main} has none of train.txt, val.txt, trainval.txt, test.txt.")
    if choices["train"] == "train" and "train" not in existing:
        raise TagformerError(f"option train=train: {main / 'train.txt'} does not exist; use train=trainval.")
    halves = [existing[name] for name in ("train", "val") if name in existing]
    whole = [existing["trainval"]] if "trainval" in existing else halves if len(halves) == 2 else []
    if choices["train"] == "trainval" and whole and ("test" in existing or len(halves) < 2):
        splits = {"train": whole}
    else:
        splits = {name: [existing[name]] for name in ("train", "val") if name in existing}
    return {**splits, "test": [existing["test"]]} if "test" in existing else splits


def _withheld(root: Path, images: Path, ids: Sequence[str]) -> bool:
    """Whether there is neither a list of a class nor an XML file for the images of a list."""
    if any(_class_file(images, name).is_file() for name in CLASSES):
        return False
    return not any(_xml_file(root, image_id).is_file() for image_id in ids)


def _class_file(images: Path, name: str) -> Path:
    return images.with_name(f"{name}_{images.name}")


def _xml_file(root: Path, image_id: str) -> Path:
    return root / "Annotations" / f"{image_id}.xml"


def _from_lists(images: Path, ids: Sequence[str], difficult: int) -> list[_Annotation]:
    """The annotations of the images of a list, from the lists of each class beside it."""
    states = {"1": PRESENT, "0": difficult, "-1": ABSENT}
    rows: dict[str, dict[int, int]] = {image_id: {} for image_id in ids}
    for name, column in COLUMNS.items():
        file = _class_file(images, name)
        if not file.is_file():
            raise TagformerError(f"{file} does not exist: it gives the images of {images} that show a {name}.")
        pairs = read_pairs(file, "an image's id and 1, 0 or -1", states)
        for number, (image_id, state) in enumerate(pairs.items(), 1):
            if image_id not in rows:
                raise TagformerError(
                    f"{file}, line {number}: image '{image_id}' is not in {images}: remove the line, or add it there."
                )
            if states[state] != ABSENT:
                rows[image_id][column] = states[state]
        for number, image_id in enumerate(ids, 1):
            if image_id not in pairs:
                raise TagformerError(f"{file} has no image '{image_id}' of {images}, line {number}: add a line for it.")
    return [_Annotation(labels) for labels in rows.values()]


def _from_xml(root: Path, images: Path, ids: Sequence[str], difficult: int) -> Iterator[_Annotation]:
    """The annotations of the images of a list, from an XML file for each."""
    for number, image_id in enumerate(ids, 1):
        file = _xml_file(root, image_id)
        if not file.is_file():
            raise TagformerError(
                f"{images}, line {number}: {file} does not exist: add it, or use the lists of each class with "
                "labels=files."
            )
        yield _read_annotation(_parse_xml(file), file, difficult)


def _parse_xml(file: Path) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(read_bytes(file))
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error
    except ElementTree.ParseError as error:
        reason = str(error).split(": line")[0]
        raise TagformerError(f"{file}, line {error.position[0]}: not valid XML ({reason}).") from error
    except (LookupError, ValueError) as error:
        raise TagformerError(f"{file}: not valid XML ({error}).") from error
    if root.tag != "annotation":
        raise TagformerError(f"{file} is not a VOC annotation: its root is <{root.tag}>, not <annotation>.")
    return root


def _read_annotation(root: ElementTree.Element, file: Path, difficult: int) -> _Annotation:
    labels: dict[int, int] = {}
    sizes: dict[int, int] = {}
    boxes = []
    for number, entry in enumerate(root.findall("object"), 1):
        origin = f"{file}, object {number}"
        name, flag = (entry.findtext("name") or "").strip(), (entry.findtext("difficult") or "0").strip()
        if name not in COLUMNS:
            raise TagformerError(f"{origin}: '{name}' is not one of VOC's 20 classes{did_you_mean(name, CLASSES)}.")
        if flag not in ("0", "1"):
            raise TagformerError(f"{origin}: difficult is '{flag}': use 0 or 1.")
        column = COLUMNS[name]
        if labels.get(column) != PRESENT:
            labels[column] = PRESENT if flag == "0" else difficult
        left, top, right, bottom = (_number(entry, f"bndbox/{key}", origin) for key in ("xmin", "ymin", "xmax", "ymax"))
        if left > right or top > bottom:
            raise TagformerError(f"{origin}: the box ends before it begins: xmin and ymin come first.")
        size = size_class((right - left + 1) * (bottom - top + 1))
        sizes[column] = max(sizes.get(column, NO_SIZE), size)
        width, height = (_number(root, f"size/{key}", str(file)) for key in ("width", "height"))
        if width <= 0 or height <= 0:
            raise TagformerError(f"{file}: the image is {width:g} x {height:g} pixels: fix <size>.")
        corners = ((left - 1) / width, (top - 1) / height, right / width, bottom / height)
        boxes.append(Box(name, tuple(min(max(corner, 0.0), 1.0) for corner in corners)))  # type: ignore[arg-type]
    return _Annotation(labels, ABSENT, sizes, tuple(boxes))


def _number(entry: ElementTree.Element, key: str, origin: str) -> float:
    text = entry.findtext(key) or ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TagformerError(f"{origin}: {key} is '{text.strip()}': it must be a number of pixels.")
    return value
