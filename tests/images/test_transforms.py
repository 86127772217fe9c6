"""From a picture to a uint8 square, with and without augmentation, and to normalised batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from tagformer.data import load_dataset
from tagformer.images.reading import Picture
from tagformer.images.transforms import Cutout, evaluation_transform, normalise, training_transform

AUGMENTED: dict[str, Any] = {"crop_scale": (0.5, 1.0), "flip": 0.5, "rand_augment": 9, "cutout": 0.25}


def halves(width: int, height: int) -> Image.Image:
    """The left half red, the right half blue."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    return image


@pytest.mark.parametrize("size", [(100, 40), (30, 90), (7, 7)])
def test_squash_shows_the_whole_image_in_a_square(size: tuple[int, int]) -> None:
    image = evaluation_transform(32)(Picture.of(halves(*size)))
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.uint8
    assert image[:, :, 1].float().mean(1).tolist() == [255, 0, 0]
    assert image[:, :, -2].float().mean(1).tolist() == [0, 0, 255]


def test_crop_takes_the_centre_without_stretching() -> None:
    picture = Image.new("RGB", (96, 32), "red")
    picture.paste("green", (32, 0, 64, 32))
    green = evaluation_transform(32, "crop")(Picture.of(picture))
    assert green.shape == (3, 32, 32)
    assert torch.equal(green, torch.tensor([0, 128, 0], dtype=torch.uint8).view(3, 1, 1).expand(3, 32, 32))


def test_an_image_of_the_right_size_is_not_changed() -> None:
    picture = load_dataset("scenes?images=6").images[0].render()  # type: ignore[union-attr]
    expected = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(64, 64, 3).permute(2, 0, 1)
    assert torch.equal(evaluation_transform(64)(Picture.of(picture)), expected)
    assert torch.equal(training_transform(64, flip=0)(Picture.of(picture)), expected)
    assert torch.equal(training_transform(64, flip=1)(Picture.of(picture)), expected.flip(2))


def test_an_unknown_way_of_resizing_is_an_error() -> None:
    with pytest.raises(ValueError, match="one of squash, crop, ctran, centre, not 'stretch'"):
        evaluation_transform(32, "stretch")


def test_half_of_the_images_are_flipped() -> None:
    transform = training_transform(8, flip=0.5)
    torch.manual_seed(0)
    flipped = sum(transform(Picture.of(halves(8, 8)))[2, 0, 0].item() == 255 for _ in range(400))
    assert 160 < flipped < 240


def test_random_crops_have_the_given_share_of_the_area() -> None:
    ramp = Image.merge("RGB", [Image.linear_gradient("L")] * 3)  # 256 x 256, brightness is the row
    transform = training_transform(64, crop_scale=(0.25, 0.25), flip=0)
    torch.manual_seed(0)
    for _ in range(20):
        image = transform(Picture.of(ramp))[0].float()
        height = (image[-1].mean() - image[0].mean()) / 256
        assert 0.4 < height < 0.6  # a quarter of the area, with sides in the ratio 3:4 to 4:3


def test_cutout_hides_one_grey_square() -> None:
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    cutout = Cutout(6)
    torch.manual_seed(0)
    for _ in range(50):
        hidden = cutout(image)
        rows, columns = torch.nonzero(hidden[0]).unbind(1)
        height, width = (int(edge.max() - edge.min()) + 1 for edge in (rows, columns))
        assert torch.equal(hidden.unique(), torch.tensor([0, 128], dtype=torch.uint8))
        assert len(rows) == height * width
        assert 3 <= height <= 6
        assert 3 <= width <= 6
    assert not image.any()


def test_augmented_images_keep_size_and_type() -> None:
    transform = training_transform(24, **AUGMENTED)
    torch.manual_seed(0)
    for _ in range(10):
        image = transform(Picture.of(halves(50, 30)))
        assert (image.shape, image.dtype) == ((3, 24, 24), torch.uint8)


def test_normalise_is_the_formula_written_out_and_does_not_change_its_input() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    result = normalise(images, mean, std)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    for channel in range(3):
        expected = (images[:, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(result[:, channel].double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(images, before)
