"""CUB-200-2011: 11,788 photographs of 200 kinds of birds, with 312 attributes in 28 groups (bill shape, wing colour).

The label of an image's class and those of its concepts stand in one label space. With the classes as targets the
concepts are extra labels: a model may be told them, they are never scored. The groups are those of the attributes'
names, ``has_bill_shape::hooked`` being in ``has_bill_shape``, and ``class``: an image has exactly one label of it.

As in the papers on concept bottlenecks, all images of a class have the same concepts: those that reach 50 in the
published per cents of the class. The papers themselves take the majority of the training images' marks, and of the
312 attributes keep the 112 that hold so for at least 10 classes. By the per cents another set comes out (108, of which
104 are among the 112), so the 112 are listed here by their numbers.

Per image, an attribute is what its annotator said, and unknown where the annotator found it not visible.

Sources: Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011; Koh et al., Concept Bottleneck Models, ICML 2020.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from tagformer.data.columns import Files, Origins, SparseRows, Strings
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.lists import read_names, read_pairs
from tagformer.data.formats._common.options import chosen
from tagformer.errors import TagformerError
from tagformer.files import first_existing
from tagformer.labels.space import UNKNOWN, LabelSpace

TREE = (
    "images.txt, image_class_labels.txt, classes.txt, train_test_split.txt, images/CLASS/*.jpg, attributes.txt, "
    "attributes/class_attribute_labels_continuous.txt, perhaps attributes/image_attribute_labels.txt"
)
OPTIONS = {
    "targets": "what is scored: classes (default; the concepts are extra labels), concepts (without classes) or both",
    "concepts": "112 (default): those of the concept bottleneck papers; 312: all attributes; none",
    "attributes": "class (default): an image has the attributes of its class; image: its own",
    "classes": "used (default): only classes that have images; all",
    "images": "folder of the images (default: images/)",
}
CHOICES = {
    "targets": ("classes", "concepts", "both"),
    "concepts": ("112", "312", "none"),
    "attributes": ("class", "image"),
    "classes": ("used", "all"),
}
CONCEPTS_112 = (  # numbers in attributes.txt
    *(2, 5, 7, 8, 11, 15, 16, 21, 22, 24, 26, 30, 31, 36, 37, 39, 41, 45, 46, 51, 52, 54, 55, 57, 58, 60, 64, 65, 70),
    *(71, 73, 76, 81, 85, 91, 92, 94, 100, 102, 107, 111, 112, 117, 118, 120, 126, 127, 132, 133, 135, 146, 150, 152),
    *(153, 154, 158, 159, 164, 165, 169, 173, 179, 180, 182, 184, 188, 189, 194, 195, 197, 199, 203, 204, 209, 210),
    *(212, 213, 214, 219, 221, 222, 226, 236, 237, 239, 240, 241, 243, 244, 245, 250, 254, 255, 260, 261, 263, 269),
    *(275, 278, 284, 290, 293, 294, 295, 299, 300, 305, 306, 309, 310, 311, 312),
)
ATTRIBUTES = ("attributes.txt", "attributes/attributes.txt", "../attributes.txt")
LAYOUT = "CUB-200-2011"
Value = TypeVar("Value")
MAJORITY = 50  # per cent
NOT_VISIBLE = 1  # the first of the four certainties
PARTS = {"1": "train", "0": "test"}
IMAGE_LINE = re.compile(rb"\s*(\d{1,9})\s+(\d{1,9})\s+[01]\s+[1-4](\s.*)?")


def splits(path: Path | None, options: dict[str, str]) -> tuple[str, ...]:
    """train and test, as far as train_test_split.txt names them.

    Raises:
        TagformerError: as `load`, for images.txt and train_test_split.txt.
    """
    assert path is not None
    root = _root(path)
    present = set(_read_parts(root, _read_images(root)))
    return tuple(split for split in PARTS.values() if split in present)


def load(path: Path | None, split: str, options: dict[str, str]) -> MultiLabelDataset:
    """Load CUB-200-2011; see the module's text.

    Args:
        path: the folder with images.txt, or the one that holds CUB_200_2011. To use only some of the images, shorten
            images.txt: what the other files say of others is ignored.

    Raises:
        TagformerError: a file that is missing or malformed, an image that is listed twice or that another file lacks,
            options that leave nothing to score; the message names the file and the line.
    """
    assert path is not None
    root, said = _root(path), chosen(options, CHOICES)
    if said["concepts"] == "none" and said["targets"] != "classes":
        raise TagformerError(f"option concepts=none leaves nothing for targets={said['targets']}: use targets=classes.")
    images = _read_images(root)
    numbers = list(images)
    class_names = [re.sub(r"^\d+\.", "", name) for name in _read_numbered(root / "classes.txt")]
    known = {str(number): number - 1 for number in range(1, len(class_names) + 1)}
    form = f"an image's number and that of its class, 1 to {len(class_names)}"
    classes = np.array(_read_values(root / "image_class_labels.txt", images, known, form))

    kinds: list[str] = []
    concepts: list[str] = []
    columns = []
    if said["targets"] != "concepts":
        kept = np.arange(len(class_names)) if said["classes"] == "all" else np.unique(classes)
        kinds = [class_names[number] for number in kept]
        columns.append((classes[:, None] == kept).astype(np.int8))
    if said["concepts"] != "none":
        attributes = _read_numbered(first_existing(root, *ATTRIBUTES, layout=LAYOUT))
        if said["attributes"] == "class":
            states = _read_class_attributes(root, len(class_names), len(attributes))[classes]
        else:
            states = _read_image_attributes(root, numbers, len(attributes))
        selected = _selected(root, len(attributes), said["concepts"])
        concepts = [attributes[number] for number in selected]
        columns.append(states[:, selected])
    dataset = MultiLabelDataset(
        name=str(root),
        label_space=_label_space(root, kinds, concepts, extra=concepts if said["targets"] == "classes" else ()),
        images=Files(Path(options.get("images", root / "images")), images.values()),
        labels=SparseRows.from_dense(torch.from_numpy(np.hstack(columns))),
        ids=Strings(numbers),
        origins=Origins([root / "images.txt"], np.zeros(len(images)), np.arange(1, len(images) + 1)),
    )
    if split == "all":
        return dataset
    return dataset.subset([row for row, part in enumerate(_read_parts(root, images)) if part == split])


def _label_space(root: Path, kinds: Sequence[str], concepts: Sequence[str], extra: Sequence[str]) -> LabelSpace:
    groups = {"class": list(kinds)} if kinds else {}
    for name in concepts:
        group, separator, _ = name.partition("::")
        if separator:
            groups.setdefault(group, []).append(name)
    try:
        return LabelSpace((*kinds, *concepts), {group: tuple(names) for group, names in groups.items()}, tuple(extra))
    except TagformerError as error:
        raise TagformerError(f"{root}: {error}") from error


def _root(path: Path) -> Path:
    return first_existing(path, "images.txt", "CUB_200_2011/images.txt", layout=LAYOUT).parent


def _read_images(root: Path) -> dict[str, str]:
    """The images' numbers and files; the n-th stands in line n."""
    file = root / "images.txt"
    images = read_pairs(file, "an image's number and its file")
    first: dict[str, int] = {}
    for line, (number, name) in enumerate(images.items(), 1):
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", number):
            raise TagformerError(f"{file}, line {line}: '{number}' is no number: write an image's number and its file.")
        if first.setdefault(name, line) != line:
            raise TagformerError(f"{file}, line {line}: '{name}' stands already in line {first[name]}: remove one.")
    return images


def _read_parts(root: Path, images: Mapping[str, str]) -> list[str]:
    """train or test for each image."""
    return _read_values(root / "train_test_split.txt", images, PARTS, "an image's number and 1 (train) or 0 (test)")


def _read_values(file: Path, images: Mapping[str, str], meanings: Mapping[str, Value], form: str) -> list[Value]:
    """What a file with a line "number value" for each image says of them, in the order of `images`."""
    values = read_pairs(file, form, meanings)
    for line, number in enumerate(images, 1):
        if number not in values:
            raise TagformerError(f"{file} lacks image {number} (images.txt, line {line}): write {form}.")
    return [meanings[values[number]] for number in images]


def _read_numbered(file: Path) -> list[str]:
    """The names in a file whose lines "number name" are numbered 1, 2, 3, ..."""
    names = read_pairs(file, "a number and a name")
    for line, number in enumerate(names, 1):
        if number != str(line):
            raise TagformerError(f"{file}, line {line}: the number is {number}: the lines must be numbered from 1.")
    return list(names.values())


def _selected(root: Path, count: int, concepts: str) -> list[int]:
    """The places of the concepts among `count` attributes."""
    if concepts == "312":
        return list(range(count))
    file = root / "attributes" / "concepts112.txt"
    if not file.is_file():
        if count < max(CONCEPTS_112):
            raise TagformerError(f"{root} has {count} attributes, too few for concepts=112: use concepts=312 for all.")
        return [number - 1 for number in CONCEPTS_112]
    known = {str(number): number - 1 for number in range(1, count + 1)}
    places = []
    for line, number in enumerate(read_names(file), 1):
        if number not in known or known[number] in places:
            raise TagformerError(
                f"{file}, line {line}: '{number}': write each attribute once, by its number 1 to {count}."
            )
        places.append(known[number])
    return places


def _read_class_attributes(root: Path, classes: int, attributes: int) -> np.ndarray:
    """int8 (classes, attributes): 1 where an attribute holds for a class."""
    file = root / "attributes" / "class_attribute_labels_continuous.txt"
    rows = []
    for line, text in enumerate(read_names(file), 1):
        cells = text.split()
        if len(cells) != attributes:
            raise TagformerError(
                f"{file}, line {line}: {len(cells)} numbers for the {attributes} attributes of attributes.txt."
            )
        try:
            row = [float(cell) for cell in cells]
        except ValueError as error:
            raise TagformerError(f"{file}, line {line}: {error}: write per cents, 0 to 100.") from error
        if not all(0 <= value <= 100 for value in row):
            raise TagformerError(f"{file}, line {line}: a number out of range: write per cents, 0 to 100.")
        rows.append(row)
    if len(rows) != classes:
        raise TagformerError(f"{file} has {len(rows)} lines for the {classes} classes of classes.txt.")
    return (np.array(rows) >= MAJORITY).astype(np.int8)


def _read_image_attributes(root: Path, numbers: Sequence[str], attributes: int) -> np.ndarray:
    """int8 (images, attributes): what the annotators said; unknown where nothing is visible, or nothing said.

    The file has 3.7 million lines "image attribute present certainty", then the time and, in some, cells too many.
    """
    file = root / "attributes" / "image_attribute_labels.txt"
    if not file.is_file():
        raise TagformerError(f"{file} does not exist: attributes=image needs it, attributes=class does not.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = np.loadtxt(file, dtype=np.int64, usecols=(0, 1, 2, 3), comments=None, encoding="latin-1", ndmin=2)
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error
    except (ValueError, UserWarning) as error:
        raise _at_fault(file, attributes) from error
    image, attribute, present, certainty = table.T
    places = image * attributes + attribute - 1
    sound = (
        ((1 <= attribute) & (attribute <= attributes)).all()
        and np.isin(present, (0, 1)).all()
        and np.isin(certainty, (1, 2, 3, 4)).all()
        and (np.diff(np.sort(places)) > 0).all()
    )
    if not sound:
        raise _at_fault(file, attributes)
    known = np.array(numbers, dtype=np.int64)
    order = known.argsort()
    row = order[np.searchsorted(known, image, sorter=order).clip(max=len(known) - 1)]
    said = (known[row] == image) & (certainty != NOT_VISIBLE)
    states = np.full((len(known), attributes), UNKNOWN, dtype=np.int8)
    states[row[said], attribute[said] - 1] = present[said]
    return states


def _at_fault(file: Path, attributes: int) -> TagformerError:
    """The error about the first line that is not as it should be."""
    seen: dict[tuple[int, int], int] = {}
    with file.open("rb") as stream:
        for line, text in enumerate(stream, 1):
            if not text.strip():
                continue
            match = IMAGE_LINE.fullmatch(text.rstrip())
            if match is None or not 1 <= int(match[2]) <= attributes:
                shown = text[:80].decode("latin-1").strip()
                return TagformerError(
                    f"{file}, line {line}: '{shown}': write an image's number, an attribute's (1 to {attributes}), "
                    "0 or 1, and the certainty 1 to 4."
                )
            pair = int(match[1]), int(match[2])
            if pair in seen:
                return TagformerError(
                    f"{file}, line {line}: attribute {pair[1]} of image {pair[0]} stands already in line {seen[pair]}: "
                    "remove one."
                )
            seen[pair] = line
    return TagformerError(f"{file} is empty, or no table of numbers: it needs a line for each image and attribute.")
