"""Images that are in the data more than once, and labels that contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tagformer.data import MultiLabelDataset, copies
from tagformer.data.copies import find_copies
from tagformer.labels import LabelSpace


def dataset(folder: Path, files: dict[str, tuple[int, list[int]]]) -> MultiLabelDataset:
    """Name -> the shade of the picture (the same shade is the same file), and its labels."""
    for name, (shade, _) in files.items():
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(folder / name)
    labels = torch.tensor([labels for _, labels in files.values()], dtype=torch.int8)
    return MultiLabelDataset(
        "mine", LabelSpace(("cat", "dog")), [folder / name for name in files], labels, ids=list(files)
    )


def test_copies_leaks_and_contradictions_are_found(tmp_path: Path) -> None:
    train = dataset(tmp_path, {"a.png": (1, [1, 0]), "b.png": (2, [1, 0]), "c.png": (1, [1, 0]), "d.png": (3, [0, 1])})
    val = dataset(tmp_path, {"e.png": (3, [1, 1]), "f.png": (4, [1, 0])})
    found = find_copies({"train": train, "val": val})
    assert found.duplicates == (("train", ("a.png", "c.png")),)
    assert found.leaks == {("train", "val"): (("d.png", "e.png"),)}
    assert found.contradictions == ((("train", "d.png"), ("val", "e.png")),)
    assert found.warnings == [
        "train: 1 duplicate image, the first is c.png, the same file as a.png",
        "val: 1 image is also in train, the first is e.png, the same file as d.png",
        "1 image is in the data more than once with different labels, the first is d.png (train), the same file as "
        "e.png (val): list each image once, with all its labels",
    ]


def test_labels_that_are_unknown_on_one_of_the_copies_contradict_nothing(tmp_path: Path) -> None:
    files = {"a.png": (1, [1, -1]), "b.png": (1, [-1, 1]), "c.png": (1, [1, 1])}
    assert find_copies({"train": dataset(tmp_path, files)}).contradictions == ()


def test_files_of_the_same_size_with_other_content_are_no_copies(tmp_path: Path) -> None:
    train = dataset(tmp_path, {"a.png": (1, [1, 0]), "b.png": (2, [1, 0])})
    for name, end in (("a.png", b"1"), ("b.png", b"2")):
        (tmp_path / name).write_bytes(b"0" * 20_000 + end)
    (tmp_path / "c.png").unlink(missing_ok=True)
    assert find_copies({"train": train}).warnings == []


def test_missing_files_and_large_data_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = dataset(tmp_path, {"a.png": (1, [1, 0]), "b.png": (1, [0, 1]), "c.png": (1, [1, 0])})
    (tmp_path / "c.png").unlink()
    assert find_copies({"train": train}).duplicates == (("train", ("a.png", "b.png")),)
    monkeypatch.setattr(copies, "LIMIT", 2)
    assert find_copies({"train": train}).warnings == []
