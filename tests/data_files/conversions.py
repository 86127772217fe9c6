"""Data sets to convert, interruptions, and checks that a written data set is the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tagformer.data import MultiLabelDataset, load_dataset
from tagformer.data.registry import FORMATS as ALL_FORMATS
from tagformer.data.registry import Spec
from tagformer.labels import LabelSpace
from tests.stored_pictures import png

FORMATS = tuple(name for name, entry in ALL_FORMATS.items() if entry.writer is not None)
COUNT = 14
SPACE = LabelSpace(
    ("zebra", "ant; big", "back\\slash", 'say "cat"', "Bär, braun", "never"),
    groups={"second": ("zebra", "Bär, braun"), "first": ("ant; big",)},
    extra=("never", "ant; big"),
)
PARTLY = [
    [1, 0, 1, 0, 0, 0],
    [0, 0, 0, 0, 0, 0],
    [-1, -1, -1, -1, -1, -1],
    [1, 1, 0, -1, 0, 0],
    [-1, -1, 0, 1, -1, -1],
    [-1, -1, -1, -1, -1, 0],
]
TAGGED = [*PARTLY[:3], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]]


def smooth(width: int, height: int, number: int = 0) -> Image.Image:
    """A picture without fine detail, other at each corner."""
    corners = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_pictures(folder: Path) -> Path:
    """Write 14 pictures, 8 for training and 6 for the test, and the CSV of their tags."""
    folder.mkdir()
    lines = ["path,tags,split"]
    for number in range(COUNT):
        smooth(60 + number, 40, number).save(folder / f"{number:02d}.png")
        tags = ("dog", "cat;dog", ";", "")[number % 4]
        lines.append(f"{number:02d}.png,{tags},{'train' if number < 8 else 'test'}")
    file = folder / "my.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, by its path below the folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class Stop(BaseException):
    """As Ctrl-C."""


def stopping(after: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= after:
            raise Stop

    return progress


def pictures(folder: Path, count: int = 6) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number}.png" for number in range(count)]
    for number, file in enumerate(files):
        file.write_bytes(png(number))
    return files


def dataset(folder: Path, states: list[list[int]] = PARTLY, ids: list[str] | None = None, **more: Any) -> Any:
    files = pictures(folder / "pictures", len(states))
    labels = torch.tensor(states, dtype=torch.int8)
    own = {"label_space": SPACE, "ids": ids or [f"id {number}" for number in range(len(states))], **more}
    return MultiLabelDataset("mine", images=files, labels=labels, **own)


def splits_of(spec: str) -> dict[str, MultiLabelDataset]:
    return {split: load_dataset(spec, split) for split in Spec.parse(spec).splits or ("all",)}


def assert_same(found: dict[str, MultiLabelDataset], expected: dict[str, MultiLabelDataset]) -> None:
    """Splits, label space, ids, order and states are the same; sizes and boxes where both know them."""
    assert list(found) == list(expected)
    for split, own in found.items():
        other = expected[split]
        assert own.label_space == other.label_space
        assert list(own.label_space.groups) == list(other.label_space.groups)
        assert list(own.ids) == list(other.ids)
        assert own.labels.tolist() == other.labels.tolist()
        assert own.exhaustive == other.exhaustive
        if own.sizes is not None and other.sizes is not None:
            present = other.labels == 1
            assert torch.equal(own.sizes[present], other.sizes[present])
        if own.boxes is not None and other.boxes is not None:
            for boxes, others in zip(own.boxes, other.boxes, strict=True):
                assert [box.label for box in boxes] == [box.label for box in others]
                for box, another in zip(boxes, others, strict=True):
                    assert box.corners == pytest.approx(another.corners, abs=0.001)
