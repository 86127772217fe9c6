"""Crops whose boxes have fractions of pixels, boxes beyond the image, and changes of colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tagformer.images import Preprocessing
from tagformer.images.reading import Picture, open_picture
from tagformer.images.transforms import evaluation_transform, training_transform


def smooth(width: int, height: int) -> np.ndarray:
    """A picture that is known at every point: its values are linear in x and y."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([255 * x / width, 255 * y / height, 0 * x], axis=2)


@pytest.mark.parametrize(("resize", "share"), [("ctran", 0.9), ("crop", None)])
@pytest.mark.parametrize(("width", "height"), [(433, 287), (641, 480)])
def test_a_box_with_fractions_is_resized_exactly(resize: str, share: float | None, width: int, height: int) -> None:
    image = Image.fromarray(smooth(width, height).round().astype(np.uint8))
    pixels = evaluation_transform(64, resize)(Picture.of(image)).double()
    box_width, box_height = (share * width, share * height) if share else (min(width, height),) * 2
    left, top = (width - box_width) / 2, (height - box_height) / 2
    centres = torch.arange(64) + 0.5
    inner = slice(2, -2)  # at its edges a resize sees less of the picture
    across = 255 * (left + box_width * centres / 64) / width
    down = 255 * (top + box_height * centres / 64) / height
    assert (pixels[0, 32] - across)[inner].abs().max() < 0.8  # rounded twice
    assert (pixels[1, :, 32] - down)[inner].abs().max() < 0.8


def test_a_box_with_fractions_equals_pillows() -> None:
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (111, 97, 3), dtype=np.uint8))
    expected = image.resize((48, 48), Image.Resampling.BILINEAR, box=(97 * 0.05, 111 * 0.05, 97 * 0.95, 111 * 0.95))
    pixels = evaluation_transform(48, "ctran")(Picture.of(image))
    assert torch.equal(pixels, torch.from_numpy(np.array(expected)).permute(2, 0, 1))


def test_the_centre_is_not_resized() -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 256, (50, 41, 3), dtype=np.uint8)
    pixels = evaluation_transform(30, "centre")(Picture.of(Image.fromarray(values)))
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), values[10:40, 5:35])


def test_what_the_centre_lacks_is_black() -> None:
    values = np.full((20, 50, 3), 200, dtype=np.uint8)
    picture = Picture.of(Image.fromarray(values))
    pixels = evaluation_transform(30, "centre")(picture)
    assert pixels.shape == (3, 30, 30)
    assert (pixels[:, 5:25] == 200).all()
    assert (pixels[:, :5] == 0).all()
    assert (pixels[:, 25:] == 0).all()
    assert Preprocessing(30, "centre").region(picture) == pytest.approx((0.2, -0.25, 0.8, 1.25))


def test_brightness_and_saturation_change_within_their_shares() -> None:
    picture = Picture.of(Image.new("RGB", (8, 8), (100, 100, 100)))
    transform = training_transform(8, flip=0, brightness=0.2, saturation=0.5)
    torch.manual_seed(0)
    values = [int(transform(picture)[0, 0, 0]) for _ in range(200)]
    assert 79 <= min(values) < 85
    assert 115 < max(values) <= 121
    grey_and_colour = training_transform(8, flip=0, saturation=0.5)(Picture.of(Image.new("RGB", (8, 8), (200, 50, 50))))
    assert int(grey_and_colour[0, 0, 0]) != 200 or int(grey_and_colour[1, 0, 0]) != 50


def test_a_whole_box_is_exact_in_a_picture_decoded_at_a_smaller_scale(tmp_path: Path) -> None:
    values = smooth(1304, 848).round().astype(np.uint8)  # the square begins at 228, which is 28.5 in an eighth
    Image.fromarray(values).save(tmp_path / "a.jpg", quality=100, subsampling=0)
    pixels = evaluation_transform(100, "crop")(open_picture(tmp_path / "a.jpg")).double()
    across = 255 * (228 + 848 * (torch.arange(100) + 0.5) / 100) / 1304
    assert (pixels[0, 50] - across)[2:-2].mean().abs() < 0.4  # rounding the box adds 0.8
