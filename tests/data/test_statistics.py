from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tagformer.data import load_dataset
from tagformer.data.image_checks import inspect_images
from tagformer.data.statistics import describe, label_warnings
from tests.helpers import CommandLine, write_folder


def test_a_description_counts_labels(tmp_path: Path) -> None:
    file = tmp_path / "my.csv"
    file.write_text("path,cat,dog\n0.png,1,1\n1.png,0,1\n2.png,0,0\n3.png,,\n", encoding="utf-8")
    description = describe(load_dataset(f"csv:{file}", "all", "keep"))
    assert (description.images, description.labels) == (4, 2)
    assert list(description.positives.items()) == [("dog", 2), ("cat", 1)]
    assert description.labels_per_image == 0.75
    assert description.without_labels == 2
    assert description.unknown == 0.25


def test_likely_mistakes_in_labels_are_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "my.csv"
    rows = ["a.png,1,1,0,train", "b.png,0,1,0,train", "c.png,0,0,0,test", "d.png,,0,0,test"]
    file.write_text("\n".join(["path,cat,dog,cow,split", *rows]), encoding="utf-8")
    splits = {split: load_dataset(f"csv:{file}", split, "keep") for split in ("train", "test")}
    assert label_warnings(splits) == [
        "train: 1 label is never positive: cow",
        "train: 1 label is on every image: dog",
        "test: 3 labels are never positive: cat, dog, cow",
        "test: no image has a label",
    ]


@pytest.fixture
def flawed(tmp_path: Path) -> Path:
    """Two splits with a broken image, a missing one, a tiny one, a duplicate and two leaks."""
    write_folder(tmp_path / "data", 8)
    folder = tmp_path / "data"
    for number in range(8):  # no two alike
        Image.new("RGB", (40, 36), (number * 20, 0, 0)).save(folder / f"image-{number:02d}.png")
    (folder / "image-00.png").write_text("no picture")
    (folder / "image-01.png").unlink()
    Image.new("RGB", (200, 31)).save(folder / "image-02.png")
    shutil.copy(folder / "image-03.png", folder / "image-04.png")
    shutil.copy(folder / "image-03.png", folder / "image-06.png")
    shutil.copy(folder / "image-05.png", folder / "image-07.png")
    splits = ["train"] * 6 + ["test"] * 2
    rows = [f"image-{number:02d}.png,red,{split}" for number, split in enumerate(splits)]
    (folder / "my.csv").write_text("\n".join(["path,tags,split", *rows]), encoding="utf-8")
    return folder / "my.csv"


def test_images_are_inspected(flawed: Path) -> None:
    seen: list[int] = []
    splits = {split: load_dataset(f"csv:{flawed}", split, "keep") for split in ("train", "test")}
    problems = inspect_images(splits, seen.append)
    assert [problem.rpartition("/")[2] for problem in problems.bad] == [
        "image-00.png is not an image.",
        "image-01.png does not exist.",
    ]
    assert problems.tiny == (("train", "image-02.png"),)
    assert problems.copies.duplicates == (("train", ("image-03.png", "image-04.png")),)
    assert problems.copies.leaks == {
        ("train", "test"): (("image-03.png", "image-06.png"), ("image-05.png", "image-07.png")),
    }
    assert seen == list(range(1, 9))


def test_clean_drawn_scenes_have_no_warnings() -> None:
    splits = {split: load_dataset("scenes?images=24", split) for split in ("train", "test")}
    problems = inspect_images(splits)
    assert (problems.bad, problems.warnings) == ((), [])


def test_data_prints_what_it_finds(flawed: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    code, printed, _ = tagformer("data", f"csv:{flawed}", "--pictures", tmp_path / "pictures")
    assert code == 0
    assert "split train: 6 images, 1 labels" in printed
    assert "split test: 2 images, 1 labels" in printed
    assert "bad images        2" in printed
    assert "image-01.png does not exist" in printed
    assert "Warning: train: 1 image is below 32 pixels on the shorter side, the first is image-02.png." in printed
    assert "Warning: train: 1 duplicate image, the first is image-04.png, the same file as image-03.png." in printed
    assert (
        "Warning: test: 2 images are also in train, the first is image-06.png, the same file as image-03.png."
        in printed
    )
    assert "Warning: train: 1 label is on every image: red." in printed
    assert re.search(r"red\s+6\s+2", printed)
    with Image.open(tmp_path / "pictures" / "contact-sheet.png") as sheet:
        assert sheet.width > 900
    assert "red</text>" in (tmp_path / "pictures" / "co-occurrence.svg").read_text(encoding="utf-8")


def test_without_reading_images_only_the_table_is_read(flawed: Path, tagformer: CommandLine) -> None:
    code, printed, _ = tagformer("data", f"csv:{flawed}", "--no-read-images")
    assert code == 0
    assert "bad images        not checked" in printed
    assert "duplicate" not in printed
