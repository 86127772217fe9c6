"""Loading a split of a data set, drawn where the data has none, and files that do not exist."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tagformer.data import load_dataset
from tagformer.errors import BadImageError, TagformerError


def table(folder: Path, count: int) -> Path:
    """A CSV of `count` images that exist."""
    for number in range(count):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / f"{number}.png")
    lines = ["path,tags", *(f"{number}.png,{'even' if number % 2 == 0 else 'odd'}" for number in range(count))]
    file = folder / "my.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_an_unknown_split_and_one_that_the_data_lacks_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"unknown split 'tset' .did you mean 'test'"):
        load_dataset("scenes?images=6", "tset")
    file = tmp_path / "my.csv"
    file.write_text("path,tags,split\na.jpg,dog,train\n", encoding="utf-8")
    with pytest.raises(TagformerError, match=r"has no 'val' split; it has train\."):
        load_dataset(f"csv:{file}", "val")


def test_data_without_splits_is_split_by_id_into_disjoint_parts(tmp_path: Path) -> None:
    file = table(tmp_path, 200)
    parts = {split: load_dataset(f"csv:{file}", split) for split in ("train", "val", "test")}
    assert len(parts["train"]) == pytest.approx(160, abs=20)
    assert len(parts["val"]) == pytest.approx(20, abs=12)
    ids = [own for part in parts.values() for own in part.ids]
    assert sorted(ids) == sorted(load_dataset(f"csv:{file}", "all").ids)
    assert len({part.label_space.names for part in parts.values()}) == 1


def test_a_missing_image_is_an_error_with_its_line_unless_skipped_or_kept(tmp_path: Path) -> None:
    file = table(tmp_path, 5)
    (tmp_path / "3.png").unlink()
    (tmp_path / "4.png").unlink()
    with pytest.raises(BadImageError, match=r"my\.csv, line 5: image .*3\.png does not exist \(and 1 more\)"):
        load_dataset(f"csv:{file}", "all")
    assert list(load_dataset(f"csv:{file}", "all", "skip").ids) == ["0.png", "1.png", "2.png"]
    assert len(load_dataset(f"csv:{file}", "all", "keep")) == 5


def test_images_that_do_not_exist_are_left_out_and_named(tmp_path: Path) -> None:
    file = table(tmp_path, 4)
    (tmp_path / "2.png").unlink()
    assert load_dataset(f"csv:{file}", "all", "skip").left_out == (f"image {tmp_path / '2.png'} does not exist.",)
    for number in (0, 1, 3):
        (tmp_path / f"{number}.png").unlink()
    with pytest.raises(TagformerError, match="none of its 4 image files exists"):
        load_dataset(f"csv:{file}", "all", "skip")
