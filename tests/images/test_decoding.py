"""Pictures are decoded no larger than they are needed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tagformer.data.formats.scenes import Scene
from tagformer.errors import BadImageError
from tagformer.images import reading as images
from tagformer.images.reading import Picture, load_image, open_picture
from tagformer.images.transforms import evaluation_transform, training_transform


@pytest.fixture(params=["simplejpeg", "pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pillow":
        monkeypatch.setattr(images, "simplejpeg", None)
    return str(request.param)


def photograph(path: Path, size: tuple[int, int] = (640, 427), **options: object) -> Path:
    Scene.drawn((0, 0, 3), 0.0).render().resize(size, Image.Resampling.BICUBIC).save(path, quality=92, **options)
    return path


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize(
    ("scale", "size"), [(1, (427, 640)), (0.51, (427, 640)), (0.5, (214, 320)), (0.3, (214, 320)), (0.2, (107, 160))]
)
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_is_enough(
    tmp_path: Path, scale: float, size: tuple[int, int]
) -> None:
    picture = open_picture(photograph(tmp_path / "a.jpg"))
    assert (picture.width, picture.height) == (640, 427)
    pixels = picture.pixels(scale)
    assert (pixels.dtype, tuple(pixels.shape)) == (torch.uint8, (3, *size))


@pytest.mark.usefixtures("decoder")
def test_the_full_size_is_what_pillow_decodes(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.jpg")
    difference = open_picture(path).pixels().permute(1, 2, 0).numpy().astype(int) - np.asarray(load_image(path))
    assert np.abs(difference).mean() < 0.1


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_upright_at_every_scale(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = photograph(tmp_path / "a.jpg", (320, 160), exif=exif)
    expected = load_image(path)
    picture = open_picture(path)
    assert (picture.width, picture.height) == expected.size
    small = picture.pixels(0.5)
    assert tuple(small.shape[1:]) == (expected.height // 2, expected.width // 2)
    reduced = np.asarray(expected.resize((expected.width // 2, expected.height // 2), Image.Resampling.BOX)).astype(int)
    assert np.abs(small.permute(1, 2, 0).numpy() - reduced).mean() < 2


@pytest.mark.usefixtures("decoder")
def test_grey_and_cmyk_jpegs_and_other_formats_come_out_as_rgb(tmp_path: Path) -> None:
    picture = load_image(photograph(tmp_path / "a.jpg", (64, 48)))
    for mode, name in (("L", "grey.jpg"), ("CMYK", "cmyk.jpg"), ("P", "palette.png"), ("RGBA", "alpha.webp")):
        picture.convert(mode).save(tmp_path / name)
        pixels = open_picture(tmp_path / name).pixels(0.25)
        assert pixels.dtype == torch.uint8
        assert len(pixels) == 3
        mean = np.asarray(load_image(tmp_path / name)).mean()
        assert pixels.float().mean().item() == pytest.approx(mean, abs=2)


@pytest.mark.usefixtures("decoder")
def test_a_truncated_jpeg_is_broken_at_every_scale(tmp_path: Path) -> None:
    whole = photograph(tmp_path / "a.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    picture = open_picture(tmp_path / "half.jpg")  # its header is there
    for scale in (1.0, 0.5):
        with pytest.raises(BadImageError, match=r"half\.jpg is broken"):
            picture.pixels(scale)


class Cell:
    """An image in a table."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self) -> bytes:
        return self.data

    def __str__(self) -> str:
        return "table.parquet, row 7"


def test_stored_images_are_read_and_named(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.jpg")
    cell = Cell(path.read_bytes())
    assert torch.equal(open_picture(cell).pixels(), open_picture(path).pixels())
    assert load_image(cell) == load_image(path)
    with pytest.raises(BadImageError, match=r"image table\.parquet, row 7 is not an image"):
        open_picture(Cell(b"text"))


def test_a_pil_image_becomes_upright_rgb() -> None:
    picture = Picture.of(Image.new("L", (6, 4), 9))
    assert (picture.width, picture.height) == (6, 4)
    assert torch.equal(picture.pixels(0.1), torch.full((3, 4, 6), 9, dtype=torch.uint8))


def test_reduced_decoding_is_not_seen_on_photographs(shared: Path) -> None:
    """Resized to 224 pixels, against full decoding by Pillow and the same resize: below 2 of 255."""
    differences = []
    reduced = 0
    for path in sorted((shared / "data" / "coco256" / "val2017").glob("*.jpg")):
        for size in (112, 224):
            full = Picture.of(load_image(path))
            reduced += open_picture(path).pixels(size / min(full.width, full.height)).shape[1] < full.height
            transform = evaluation_transform(size)
            differences.append(
                (transform(open_picture(path)).int() - transform(full).int()).abs().float().mean().item()
            )
    assert len(differences) > 200
    assert reduced > 100  # otherwise nothing was tested
    assert np.mean(differences) < 2


def test_a_crop_is_cut_from_the_reduced_image_at_the_same_place(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.jpg", (1280, 960))
    transform = training_transform(96, crop_scale=(0.4, 0.6), flip=0)
    for seed in range(8):
        torch.manual_seed(seed)
        reduced = transform(open_picture(path))
        torch.manual_seed(seed)
        full = transform(Picture.of(load_image(path)))
        assert (reduced.int() - full.int()).abs().float().mean() < 3  # another box differs by far more


def test_bytes_that_only_begin_like_a_jpeg(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue()[:40])
    with pytest.raises(BadImageError, match=r"a\.jpg"):
        open_picture(tmp_path / "a.jpg").pixels()
