"""Reading CUB-200-2011: 11,788 photographs of 200 kinds of birds, with 312 attributes in 28 groups.

The label of an image's class and those of its concepts are in one label space. With the classes as targets the concepts
are extra labels: a model may take them as input, and they are never scored. The groups are those of the attributes'
names (``has_bill_shape::hooked`` is in ``has_bill_shape``), and ``class``, in which an image has exactly one label.

As in the papers on concept bottlenecks, all images of a class have the same concepts: those that reach 50 in the
published per cents of the class. The papers themselves take the majority over the training images' annotations and, of
the 312 attributes, keep the 112 that hold in this way for at least 10 classes. With the per cents the same rule gives
another set (108, of which 104 are among the 112), so the 112 are listed in `attributes` by their numbers.

Per image, an attribute is the annotator's answer, and unknown where the annotator marked it as not visible.

Sources: Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011; Koh et al., Concept Bottleneck Models, ICML 2020.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import torch

from tagformer.data.columns import Files, Origins, Strings
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.lists import read_pairs
from tagformer.data.formats._common.options import choose
from tagformer.data.formats.cub.attributes import read_class_attributes, read_image_attributes, select_concepts
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError
from tagformer.files import first_existing
from tagformer.labels.space import UNKNOWN, LabelSpace

CHOICES = {
    "targets": ("classes", "concepts", "both"),
    "concepts": ("112", "312", "none"),
    "attributes": ("class", "image"),
    "classes": ("used", "all"),
    "not_visible": ("used", "unknown"),
}
ATTRIBUTES = ("attributes.txt", "attributes/attributes.txt", "../attributes.txt")
LAYOUT = "CUB-200-2011"
SPLITS = {"1": "train", "0": "test"}
Value = TypeVar("Value")


class CubFormat(Format):
    """CUB-200-2011; see the module's text.

    The path is the folder with images.txt, or the one that contains CUB_200_2011. To use only some of the images,
    shorten images.txt: the lines of the other files about other images are ignored.

    >>> sorted(CubFormat().options)
    ['attributes', 'classes', 'concepts', 'images', 'not_visible', 'targets']
    """

    layout = (
        "images.txt, image_class_labels.txt, classes.txt, train_test_split.txt, images/CLASS/*.jpg, attributes.txt, "
        "attributes/class_attribute_labels_continuous.txt, perhaps attributes/image_attribute_labels.txt"
    )
    options: ClassVar[Mapping[str, str]] = {
        "targets": "what is scored: classes (default; the concepts are extra labels), concepts (without classes) or "
        "both",
        "concepts": "112 (default): those of the concept bottleneck papers; 312: all attributes; none",
        "attributes": "class (default): an image has the attributes of its class; image: its own",
        "classes": "used (default): only classes that have images; all",
        "not_visible": "used (default); unknown: with attributes=class, concepts that the image's annotator marked as "
        "not visible, or did not annotate, are unknown",
        "images": "folder of the images (default: images/)",
    }
    path_options = ("images",)

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """train and test, as far as train_test_split.txt names them.

        Raises:
            TagformerError: as `load`, for images.txt and train_test_split.txt.
        """
        root = _root(path)
        present = set(_read_splits(root, _read_images(root)))
        return tuple(split for split in SPLITS.values() if split in present)

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: a file that is missing or malformed, an image that is a duplicate or missing in another
                file, options that leave nothing to score; the message names the file and the line.
        """
        root, choices = _root(path), choose(options, CHOICES)
        if choices["concepts"] == "none" and choices["targets"] != "classes":
            raise TagformerError(
                f"option concepts=none leaves nothing for targets={choices['targets']}: use targets=classes."
            )
        images = _read_images(root)
        class_names = [re.sub(r"^\d+\.", "", name) for name in _read_numbered(root / "classes.txt")]
        classes = _read_classes(root, images, len(class_names))
        columns: list[np.ndarray] = []
        used_classes: list[str] = []
        concepts: list[str] = []
        if choices["targets"] != "concepts":
            kept = np.arange(len(class_names)) if choices["classes"] == "all" else np.unique(classes)
            used_classes = [class_names[number] for number in kept]
            columns.append((classes[:, None] == kept).astype(np.int8))
        if choices["concepts"] != "none":
            concepts, states = _read_concepts(root, images, classes, len(class_names), choices)
            columns.append(states)
        extra = concepts if choices["targets"] == "classes" else ()
        dataset = MultiLabelDataset(
            name=str(root),
            label_space=_label_space(root, used_classes, concepts, extra),
            images=Files(Path(options.get("images", root / "images")), images.values()),
            labels=SparseRows.from_dense(torch.from_numpy(np.hstack(columns))),
            ids=Strings(images),
            origins=Origins([root / "images.txt"], np.zeros(len(images)), np.arange(1, len(images) + 1)),
        )
        if split == "all":
            return dataset
        return dataset.subset([row for row, name in enumerate(_read_splits(root, images)) if name == split])


def _label_space(root: Path, classes: Sequence[str], concepts: Sequence[str], extra: Sequence[str]) -> LabelSpace:
    groups = {"class": list(classes)} if classes else {}
    for name in concepts:
        group, separator, _ = name.partition("::")
        if separator:
            groups.setdefault(group, []).append(name)
    try:
        members = {group: tuple(names) for group, names in groups.items()}
        return LabelSpace((*classes, *concepts), members, tuple(extra))
    except TagformerError as error:
        raise TagformerError(f"{root}: {error}") from error


def _root(path: Path) -> Path:
    return first_existing(path, "images.txt", "CUB_200_2011/images.txt", layout=LAYOUT).parent


def _read_images(root: Path) -> dict[str, str]:
    """The images' numbers and files; the n-th is in line n."""
    file = root / "images.txt"
    images = read_pairs(file, "an image's number and its file")
    first: dict[str, int] = {}
    for line, (number, name) in enumerate(images.items(), 1):
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", number):
            raise TagformerError(
                f"{file}, line {line}: '{number}' is not a number: write an image's number and its file."
            )
        if first.setdefault(name, line) != line:
            raise TagformerError(f"{file}, line {line}: '{name}' is a duplicate of line {first[name]}: remove one.")
    return images


def _read_splits(root: Path, images: Mapping[str, str]) -> list[str]:
    """train or test for each image."""
    return _read_values(root / "train_test_split.txt", images, SPLITS, "an image's number and 1 (train) or 0 (test)")


def _read_classes(root: Path, images: Mapping[str, str], count: int) -> np.ndarray:
    """int64 (images,): the position of each image's class among the `count` classes."""
    positions = {str(number): number - 1 for number in range(1, count + 1)}
    expected = f"an image's number and that of its class, 1 to {count}"
    return np.array(_read_values(root / "image_class_labels.txt", images, positions, expected))


def _read_concepts(
    root: Path, images: Mapping[str, str], classes: np.ndarray, class_count: int, choices: Mapping[str, str]
) -> tuple[list[str], np.ndarray]:
    """The concepts' names, and their states, int8 (images, concepts)."""
    attributes = _read_numbered(first_existing(root, *ATTRIBUTES, layout=LAYOUT))
    if choices["attributes"] == "class":
        states = read_class_attributes(root, class_count, len(attributes))[classes]
        if choices["not_visible"] == "unknown":
            states[read_image_attributes(root, list(images), len(attributes)) == UNKNOWN] = UNKNOWN
    else:
        states = read_image_attributes(root, list(images), len(attributes))
    selected = select_concepts(root, len(attributes), choices["concepts"])
    return [attributes[position] for position in selected], states[:, selected]


def _read_values(file: Path, images: Mapping[str, str], meanings: Mapping[str, Value], expected: str) -> list[Value]:
    """The values in a file with a line "number value" per image, in the order of `images`."""
    values = read_pairs(file, expected, meanings)
    for line, number in enumerate(images, 1):
        if number not in values:
            raise TagformerError(f"{file} has no image {number} (images.txt, line {line}): write {expected}.")
    return [meanings[values[number]] for number in images]


def _read_numbered(file: Path) -> list[str]:
    """The names in a file whose lines "number name" are numbered 1, 2, 3, ..."""
    names = read_pairs(file, "a number and a name")
    for line, number in enumerate(names, 1):
        if number != str(line):
            raise TagformerError(f"{file}, line {line}: the number is {number}: the lines must be numbered from 1.")
    return list(names.values())
