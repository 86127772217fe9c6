"""The files of a small CUB tree."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

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


def write_birds(root: Path, count: int) -> Path:
    """A CUB tree with pictures: two classes in turns, every fourth image in the test, four attributes."""
    rows = range(1, count + 1)
    names = [f"{number % 2 + 1:03d}.Bird_{number % 2}/Bird_{number}.jpg" for number in rows]
    for number, name in zip(rows, names, strict=True):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), (200, 90 * (number % 2), 10)).save(root / "images" / name)
    write(root / "images.txt", "".join(f"{number} {name}\n" for number, name in zip(rows, names, strict=True)))
    write(root / "image_class_labels.txt", "".join(f"{number} {number % 2 + 1}\n" for number in rows))
    write(root / "classes.txt", "1 001.Bird_0\n2 002.Bird_1\n")
    write(root / "train_test_split.txt", "".join(f"{number} {int(number % 4 != 0)}\n" for number in rows))
    write(root / "attributes.txt", ATTRIBUTES)
    write(root / "attributes" / "class_attribute_labels_continuous.txt", "50 0 0 100\n0 100 0 0\n")
    answers = [f"{number} {attribute} 1 {1 + number % 4}\n" for number in rows for attribute in range(1, 5)]
    write(root / "attributes" / "image_attribute_labels.txt", "".join(answers))
    return root
