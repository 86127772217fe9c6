"""Values of more than 8 bits are spread over the range that they use, and decoding takes little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagformer.errors import BadImageError
from tagformer.images import load_image, open_picture, rgb

GRADIENT = np.linspace(0, 255, 40 * 30).reshape(30, 40).astype(np.uint8)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_the_bits_of_a_16_bit_file_that_are_used_fill_the_range(tmp_path: Path, name: str, bits: int) -> None:
    values = GRADIENT.astype(np.uint16) << (bits - 8)
    Image.fromarray(values).save(tmp_path / name)
    for pixels in (np.asarray(load_image(tmp_path / name)), pixels_of(tmp_path / name)):
        np.testing.assert_array_equal(pixels, np.stack([GRADIENT] * 3, axis=2))


@pytest.mark.parametrize("bits", [12, 16, 20, 31])
def test_32_bit_integers_are_not_black(tmp_path: Path, bits: int) -> None:
    Image.fromarray(GRADIENT.astype(np.int32) << (bits - 8)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.tif"), np.stack([GRADIENT] * 3, axis=2))


def test_negative_integers_are_black(tmp_path: Path) -> None:
    Image.fromarray(np.where(GRADIENT > 100, GRADIENT.astype(np.int32), -5)).save(tmp_path / "a.tif")
    expected = np.where(GRADIENT > 100, GRADIENT, 0)
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.tif")[:, :, 0], expected)


def pixels_of(path: Path, scale: float = 1.0) -> np.ndarray:
    return open_picture(path).pixels(scale).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_strips_give_what_the_whole_image_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, orientation: int
) -> None:
    monkeypatch.setattr(rgb, "STRIP_PIXELS", 200)  # of 5 rows
    noise = np.random.default_rng(0).integers(0, 256, (23, 40, 4), dtype=np.uint8)
    image = Image.fromarray(noise[:, :, :3]) if mode == "P" else Image.fromarray(noise)
    image = image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(file, exif=exif)
    whole = image.convert("RGB")
    if mode in ("RGBA", "LA"):
        whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    expected = np.asarray(whole)
    expected = expected.swapaxes(0, 1) if orientation > 4 else expected
    expected = expected[::-1] if orientation in (3, 4, 7, 8) else expected
    expected = expected[:, ::-1] if orientation in (2, 3, 6, 7) else expected
    np.testing.assert_array_equal(pixels_of(file), expected)
    np.testing.assert_array_equal(np.asarray(load_image(file)), expected)
    picture = open_picture(file)
    assert (picture.height, picture.width) == expected.shape[:2]


def test_a_large_image_is_reduced_to_the_means_of_its_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagformer.images.reading.LARGE", 100)
    monkeypatch.setattr(rgb, "STRIP_PIXELS", 200)
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    means = noise.reshape(16, 4, 12, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(pixels_of(tmp_path / "a.png", 0.2), means, atol=0.51)


MEASURE = """
import resource, sys, torch
from pathlib import Path
from PIL import Image
from tagformer.images import load_image, open_picture
Image.new("RGB", (8, 8)).save(sys.argv[2]); open_picture(Path(sys.argv[2])).pixels(); load_image(Path(sys.argv[2]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
open_picture(Path(sys.argv[1])).pixels(0.1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("mode", ["I;16", "RGBA", "RGB", "P"])
def test_decoding_takes_at_most_6_bytes_a_pixel(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (5000, 4000)).save(tmp_path / "a.png", compress_level=1)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "a.png"), str(tmp_path / "small.png")]
    kilobytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert kilobytes * 1024 < 6 * 20_000_000


def test_an_image_of_absurd_size_is_one_sentence(tmp_path: Path) -> None:
    Image.new("1", (20_000, 6_000)).save(tmp_path / "a.png")
    for read in (load_image, open_picture):
        with pytest.raises(BadImageError, match=r"a\.png has over 100 million pixels: scale it down\.$"):
            read(tmp_path / "a.png")
