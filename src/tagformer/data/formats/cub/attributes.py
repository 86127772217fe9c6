"""CUB's 312 attributes as concepts: which of them are labels, and their states per class or per image."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tagformer.data.formats._common.lists import read_names
from tagformer.errors import TagformerError
from tagformer.labels.space import UNKNOWN

CONCEPTS_112 = (  # numbers in attributes.txt
    *(2, 5, 7, 8, 11, 15, 16, 21, 22, 24, 26, 30, 31, 36, 37, 39, 41, 45, 46, 51, 52, 54, 55, 57, 58, 60, 64, 65, 70),
    *(71, 73, 76, 81, 85, 91, 92, 94, 100, 102, 107, 111, 112, 117, 118, 120, 126, 127, 132, 133, 135, 146, 150, 152),
    *(153, 154, 158, 159, 164, 165, 169, 173, 179, 180, 182, 184, 188, 189, 194, 195, 197, 199, 203, 204, 209, 210),
    *(212, 213, 214, 219, 221, 222, 226, 236, 237, 239, 240, 241, 243, 244, 245, 250, 254, 255, 260, 261, 263, 269),
    *(275, 278, 284, 290, 293, 294, 295, 299, 300, 305, 306, 309, 310, 311, 312),
)
MAJORITY = 50  # per cent
NOT_VISIBLE = 1  # the first of the four certainties
IMAGE_LINE = re.compile(rb"\s*(\d{1,9})\s+(\d{1,9})\s+[01]\s+[1-4](\s.*)?")


def select_concepts(root: Path, attributes: int, concepts: str) -> list[int]:
    """The positions of the concepts among the attributes.

    Args:
        attributes: the number of attributes.
        concepts: 112, or 312 for all; the 112 may be listed in attributes/concepts112.txt.

    Raises:
        TagformerError: too few attributes for the 112, or a list with a duplicate or a number out of range.
    """
    if concepts == "312":
        return list(range(attributes))
    file = root / "attributes" / "concepts112.txt"
    if not file.is_file():
        if attributes < max(CONCEPTS_112):
            raise TagformerError(
                f"{root} has {attributes} attributes, too few for concepts=112: use concepts=312 for all."
            )
        return [number - 1 for number in CONCEPTS_112]
    positions = {str(number): number - 1 for number in range(1, attributes + 1)}
    selected = []
    for line, number in enumerate(read_names(file), 1):
        if number not in positions or positions[number] in selected:
            raise TagformerError(
                f"{file}, line {line}: '{number}': write each attribute once, by its number 1 to {attributes}."
            )
        selected.append(positions[number])
    return selected


def read_class_attributes(root: Path, classes: int, attributes: int) -> np.ndarray:
    """int8 (classes, attributes): 1 where an attribute reaches 50 per cent of its class, otherwise 0.

    Raises:
        TagformerError: the file is missing, or a line or the number of lines is wrong.
    """
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


def read_image_attributes(root: Path, numbers: Sequence[str], attributes: int) -> np.ndarray:
    """int8 (images, attributes): the annotators' answers; unknown where not visible or not annotated.

    The file has 3.7 million lines "image attribute present certainty", followed by the time and sometimes by surplus
    cells.

    Args:
        numbers: the images' numbers.
        attributes: the number of attributes.

    Raises:
        TagformerError: the file is missing, or a line is malformed or a duplicate.
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
        raise _first_bad_line(file, attributes) from error
    image, attribute, present, certainty = table.T
    pairs = image * attributes + attribute - 1
    valid = (
        ((1 <= attribute) & (attribute <= attributes)).all()
        and np.isin(present, (0, 1)).all()
        and np.isin(certainty, (1, 2, 3, 4)).all()
        and (np.diff(np.sort(pairs)) > 0).all()
    )
    if not valid:
        raise _first_bad_line(file, attributes)
    listed = np.array(numbers, dtype=np.int64)
    order = listed.argsort()
    row = order[np.searchsorted(listed, image, sorter=order).clip(max=len(listed) - 1)]
    annotated = (listed[row] == image) & (certainty != NOT_VISIBLE)
    states = np.full((len(listed), attributes), UNKNOWN, dtype=np.int8)
    states[row[annotated], attribute[annotated] - 1] = present[annotated]
    return states


def _first_bad_line(file: Path, attributes: int) -> TagformerError:
    """The error about the first line that is malformed or a duplicate."""
    seen: dict[tuple[int, int], int] = {}
    with file.open("rb") as stream:
        for line, text in enumerate(stream, 1):
            if not text.strip():
                continue
            match = IMAGE_LINE.fullmatch(text.rstrip())
            if match is None or not 1 <= int(match[2]) <= attributes:
                shown = text[:80].decode("latin-1").strip()
                return TagformerError(
                    f"{file}, line {line}: '{shown}': write the numbers of an image and an attribute (1 to "
                    f"{attributes}), 0 or 1, and the certainty 1 to 4."
                )
            pair = int(match[1]), int(match[2])
            if pair in seen:
                return TagformerError(
                    f"{file}, line {line}: attribute {pair[1]} of image {pair[0]} is a duplicate of line {seen[pair]}: "
                    "remove one."
                )
            seen[pair] = line
    return TagformerError(f"{file} is empty or not a table of numbers: it needs a line per image and attribute.")
