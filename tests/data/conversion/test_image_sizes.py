"""Images made smaller while a data set is converted: their size, pixels, orientation and quality."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagformer.data import Conversion, convert, load_dataset
from tagformer.images.encoding import resized
from tagformer.images.reading import load_image
from tests.data_files.conversions import (
    COUNT,
    FORMATS,
    encoded,
    smooth,
)


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (640, 480, 224, (299, 224)),
        (480, 640, 224, (224, 299)),
        (100, 100, 30, (30, 30)),
        (1000, 10, 5, (500, 5)),
        (90, 61, 60, (89, 60)),
        (90, 60, 60, (90, 60)),
        (50, 40, 60, (50, 40)),
        (3, 2000, 1, (1, 667)),
    ],
)
def test_the_shorter_side_is_the_size_and_nothing_is_enlarged(
    tmp_path: Path, width: int, height: int, size: int, expected: tuple[int, int]
) -> None:
    for kind in ("JPEG", "PNG"):
        file = tmp_path / f"a.{kind}"
        file.write_bytes(encoded(smooth(width, height), kind))
        image = resized(file, size, 95)
        assert (image.width, image.height) == expected
        with Image.open(io.BytesIO(image.data or b"")) as opened:
            assert opened.format == "JPEG"
            assert opened.size == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [30, 90, 131, 200])
def test_pixels_are_those_of_pillows_own_resizing(tmp_path: Path, kind: str, size: int) -> None:
    file = tmp_path / "a"
    file.write_bytes(encoded(smooth(400, 300), kind))
    image = resized(file, size, 95)
    with Image.open(file) as original:
        theirs = original.convert("RGB").resize((image.width, image.height), Image.Resampling.BICUBIC)
    ours = load_image(_written(tmp_path, image.data))
    difference = np.abs(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float))
    assert difference.mean() < 2
    assert difference.max() < 30
    mirrored = np.asarray(theirs, dtype=float)[:, ::-1]
    assert np.abs(np.asarray(ours, dtype=float) - mirrored).mean() > 10, "the two sides of the picture differ"


def _written(folder: Path, data: bytes | None) -> Path:
    file = folder / "written.jpg"
    file.write_bytes(data or b"")
    return file


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [24, 200])
def test_images_are_turned_upright(tmp_path: Path, orientation: int, size: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "a.jpg"
    file.write_bytes(encoded(smooth(64, 48), exif=exif, quality=95))
    image = resized(file, size, 95)
    upright = load_image(file)
    assert (upright.width > upright.height) == (orientation < 5)
    with Image.open(io.BytesIO(image.data or b"")) as opened:
        assert opened.getexif().get(0x0112, 1) == 1
        assert opened.size == (image.width, image.height)
        found = np.asarray(opened.convert("RGB"), dtype=float)
    expected = np.asarray(upright.resize((image.width, image.height), Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(found - expected).mean() < 3


def test_the_quality_is_that_of_the_jpegs(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(encoded(Image.effect_noise((200, 200), 90).convert("RGB"), "PNG"))
    sizes = [len(resized(file, 100, quality).data or b"") for quality in (30, 75, 95)]
    assert sizes[0] < sizes[1] < sizes[2]
    assert resized(file, 100, 95) == resized(file, 100, 95)


def test_a_jpeg_that_need_not_change_is_not_encoded_again(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    for image in (smooth(50, 40), smooth(50, 40).convert("L")):
        file.write_bytes(encoded(image, quality=60))
        assert resized(file, 40, 95).data == file.read_bytes()
    file.write_bytes(encoded(smooth(50, 40).convert("CMYK")))
    with Image.open(io.BytesIO(resized(file, 40, 95).data or b"")) as opened:
        assert opened.mode == "RGB"


@pytest.mark.parametrize("form", FORMATS)
def test_images_of_a_converted_set_have_the_size(table: Path, tmp_path: Path, form: str) -> None:
    written = convert(str(table), f"{form}:{tmp_path / 'out'}", size=20)
    assert written == Conversion(f"{form}:{tmp_path / 'out'}", {"train": 8, "test": 6}, ())
    for split, numbers in (("train", range(8)), ("test", range(8, COUNT))):
        dataset = load_dataset(written.spec, split)
        for number, image in zip(numbers, dataset.images, strict=True):
            found = load_image(image)
            assert found.size == (round((60 + number) / 2), 20)
            with Image.open(table.parent / f"{number:02d}.png") as original:
                theirs = original.resize(found.size, Image.Resampling.BICUBIC)
            assert np.abs(np.asarray(found, dtype=float) - np.asarray(theirs, dtype=float)).mean() < 4
    if form in ("csv", "jsonl", "coco"):
        assert len(list((tmp_path / "out").rglob("*.jpg"))) == COUNT


def test_objects_keep_their_sizes_and_boxes_when_images_become_smaller(tmp_path: Path) -> None:
    spec = "scenes?images=30&seed=5"
    written = convert(spec, f"coco:{tmp_path / 'out'}", size=16)
    for split in ("train", "val", "test"):
        found, scenes = load_dataset(written.spec, split), load_dataset(spec, split)
        assert found.sizes is not None
        assert scenes.sizes is not None
        assert found.sizes.tolist() == scenes.sizes.tolist()
        assert {1, 2, 3} <= set(scenes.sizes.flatten().tolist())
        for boxes, others in zip(found.boxes or (), scenes.boxes or (), strict=True):
            for box, other in zip(boxes, others, strict=True):
                assert box.label == other.label
                assert box.corners == pytest.approx(other.corners, abs=0.001)
        assert load_image(found.images[0]).size == (16, 16)
