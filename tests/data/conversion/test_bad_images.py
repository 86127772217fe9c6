"""Images that cannot be read stop a conversion, or are left out and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagformer.data import convert, load_dataset
from tagformer.errors import BadImageError, TagformerError
from tagformer.images.encoding import resized
from tagformer.images.reading import load_image
from tests.data_files.conversions import (
    FORMATS,
    Stop,
    encoded,
    smooth,
    stopping,
)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [None, 20])
def test_bad_images_stop_or_are_left_out_and_counted(table: Path, tmp_path: Path, form: str, size: int | None) -> None:
    whole = encoded(smooth(600, 400), quality=95)
    (table.parent / "02.png").write_bytes(b"not an image")
    (table.parent / "09.png").write_bytes(whole[: len(whole) // 2] if size else b"")
    target = f"{form}:{tmp_path / 'out'}"
    with pytest.raises(BadImageError, match=r"my\.csv, line 4: image .*02\.png is not an image: fix it, or leave"):
        convert(str(table), target, size=size)
    written = convert(str(table), target, size=size, on_bad_image="skip")
    assert written.images == {"train": 7, "test": 5}
    assert len(written.left_out) == 2
    assert "02.png is not an image" in written.left_out[0]
    assert "09.png is broken" in written.left_out[1] or "09.png is an empty file" in written.left_out[1]
    assert [Path(name).stem for name in load_dataset(written.spec, "train").ids] == [
        "00",
        "01",
        *("03", "04", "05", "06", "07"),
    ]
    assert len(load_dataset(written.spec, "test")) == 5
    assert convert(str(table), target, size=size, on_bad_image="skip") == written
    with pytest.raises(BadImageError, match=r"02\.png"):
        convert(str(table), target, size=size)


def test_a_bad_image_that_was_left_out_before_a_stop_is_named_again(table: Path, tmp_path: Path) -> None:
    (table.parent / "01.png").write_bytes(b"x")
    target, done = f"jsonl:{tmp_path / 'out'}", []
    with pytest.raises(Stop):
        convert(str(table), target, on_bad_image="skip", progress=stopping(6))
    with pytest.raises(BadImageError, match=r"01\.png"):
        convert(str(table), target, progress=lambda now, total: done.append(now))
    assert done == [], "before any other image is read"
    assert convert(str(table), target, on_bad_image="skip").images == {"train": 7, "test": 6}


def test_a_missing_image_is_named_at_once_or_left_out(table: Path, tmp_path: Path) -> None:
    (table.parent / "03.png").unlink()
    with pytest.raises(BadImageError, match=r"my\.csv, line 5: image .*03\.png does not exist"):
        convert(str(table), f"csv:{tmp_path / 'out'}")
    written = convert(str(table), f"csv:{tmp_path / 'out'}", on_bad_image="skip")
    assert written.images == {"train": 7, "test": 6}
    assert len(written.left_out) == 1


def test_a_broken_small_jpeg_is_found_though_it_is_not_encoded_again(tmp_path: Path) -> None:
    whole = encoded(smooth(64, 48), quality=95)
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImageError, match="is broken"):
        resized(tmp_path / "a.jpg", 100, 95)


def test_stored_images_that_are_bad_are_named_too(table: Path, tmp_path: Path) -> None:
    written = convert(str(table), f"shards:{tmp_path / 'shards'}").spec
    tar = tmp_path / "shards" / "train-000000.tar"
    picture = (table.parent / "05.png").read_bytes()
    tar.write_bytes(tar.read_bytes().replace(picture, b"x" * len(picture)))
    with pytest.raises(BadImageError, match=r"train-000000\.tar, 000000005\.png is not an image"):
        convert(written, f"parquet:{tmp_path / 'out'}")
    found = convert(written, f"parquet:{tmp_path / 'out'}", on_bad_image="skip")
    assert (found.images["train"], len(found.left_out)) == (7, 1)


def test_a_set_without_a_single_good_image_is_rejected(table: Path, tmp_path: Path) -> None:
    for number in range(8):
        (table.parent / f"{number:02d}.png").write_bytes(b"x")
    with pytest.raises(TagformerError, match="no image of split 'train' can be read"):
        convert(str(table), f"shards:{tmp_path / 'out'}", on_bad_image="skip")


@pytest.mark.parametrize("form", ["parquet", "shards"])
def test_parts_of_bad_images_alone_leave_no_gap(table: Path, tmp_path: Path, form: str) -> None:
    for number in range(5, 8):
        (table.parent / f"{number:02d}.png").write_bytes(b"x")
    written = convert(str(table), f"{form}:{tmp_path / 'out'}", on_bad_image="skip", part_bytes=1)
    assert [Path(name).stem for name in load_dataset(written.spec, "train").ids] == [f"{i:02d}" for i in range(5)]


def test_a_kind_of_image_that_cannot_be_stored_has_a_message_with_advice(tmp_path: Path) -> None:
    (tmp_path / "a.jp2").write_bytes(encoded(smooth(64, 48), "JPEG2000"))
    (tmp_path / "my.csv").write_text("path,tags\na.jp2,dog\n")
    with pytest.raises(BadImageError, match="JPEG2000 file, which cannot be stored as it is: give a size"):
        convert(str(tmp_path / "my.csv"), f"shards:{tmp_path / 'out'}")
    written = convert(str(tmp_path / "my.csv"), f"shards:{tmp_path / 'small'}", size=20)
    assert load_image(load_dataset(written.spec, "all").images[0]).size == (27, 20)
