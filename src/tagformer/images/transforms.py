"""From a picture to a uint8 tensor of one size; normalisation comes later, on the device (`normalise`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F  # noqa: N812

from tagformer.images import crops
from tagformer.images.reading import Picture


class ImageTransform(Protocol):
    """A function that makes a uint8 tensor (3, size, size) from a picture.

    >>> from PIL import Image
    >>> from tagformer.images import Picture, evaluation_transform
    >>> transform = evaluation_transform(32)
    >>> transform.size, transform(Picture.of(Image.new("RGB", (60, 40)))).shape
    (32, torch.Size([3, 32, 32]))
    """

    size: int

    def __call__(self, picture: Picture) -> Tensor: ...


RESIZES: dict[str, crops.Crop] = {
    "squash": crops.whole,
    "crop": crops.centre,
    "ctran": crops.middle(576 / 640),
}
TOLERANCE = 1e-6  # pixels
CENTRE = "centre"  # its box depends on the size, see `evaluation_crop`
CROPS: dict[str, Callable[[], crops.Crop]] = {"multi_scale": crops.multi_scale, "ctran": crops.random_square}


def evaluation_crop(resize: str, size: int) -> crops.Crop:
    """The box of the image that evaluation resizes to the square of `size` pixels; see `evaluation_transform`.

    Raises:
        ValueError: an unknown `resize`.
    """
    if resize == CENTRE:
        return crops.middle_pixels(size)
    if resize not in RESIZES:
        raise ValueError(f"resize must be one of {', '.join([*RESIZES, CENTRE])}, not {resize!r}")
    return RESIZES[resize]


def evaluation_transform(size: int, resize: str = "squash") -> ImageTransform:
    """The transform of evaluation: a picture to uint8 (3, size, size), without augmentation.

    Args:
        size: pixels per side.
        resize: ``squash`` stretches the whole image to the square; ``crop`` takes the largest square in the middle;
            ``ctran`` takes the middle nine tenths of each side, as C-Tran does in its tests, and stretches them;
            ``centre`` takes the middle `size` pixels without resizing, and fills what lies outside the image with
            black.

    Raises:
        ValueError: an unknown `resize`.

    >>> from PIL import Image
    >>> from tagformer.images import Picture, evaluation_transform
    >>> evaluation_transform(32, "crop")(Picture.of(Image.new("RGB", (80, 60)))).shape
    torch.Size([3, 32, 32])
    """
    return _Transform(size, evaluation_crop(resize, size), [])


def training_transform(
    size: int,
    resize: str = "squash",
    crop: str | None = None,
    crop_scale: Sequence[float] | None = None,
    flip: float = 0.5,
    rand_augment: int | None = None,
    cutout: float = 0.0,
    brightness: float = 0.0,
    saturation: float = 0.0,
) -> ImageTransform:
    """The transform of training: as `evaluation_transform`, with augmentation drawn from torch's generator.

    Args:
        size, resize: as `evaluation_transform`.
        crop: ``multi_scale`` (ML-GCN, CAT) or ``ctran``, see `crops`.
        crop_scale: (least, largest) share of the image's area that a random crop keeps, where `crop` is None. Without
            `crop` and `crop_scale` the crop is that of evaluation.
        flip: probability of a horizontal flip.
        rand_augment: magnitude of RandAugment (2 operations) in 0..30, or None.
        cutout: side of a grey square that hides part of the image, as a share of the size.
        brightness, saturation: largest random change of each, as a share: 0.5 multiplies by 0.5 to 1.5.

    >>> from PIL import Image
    >>> from tagformer.images import Picture, training_transform
    >>> training_transform(32, crop_scale=(0.6, 1.0), cutout=0.5)(Picture.of(Image.new("RGB", (80, 60)))).shape
    torch.Size([3, 32, 32])
    """
    box = evaluation_crop(resize, size)
    if crop is not None:
        box = CROPS[crop]()
    elif crop_scale is not None:
        box = crops.random_area(crop_scale)
    steps: list[Callable[[Tensor], Tensor]] = []
    if flip:
        steps.append(HorizontalFlip(flip))
    if brightness or saturation:
        steps.append(v2.ColorJitter(brightness=brightness, saturation=saturation))
    if rand_augment is not None:
        steps.append(v2.RandAugment(num_ops=2, magnitude=rand_augment))
    if cutout:
        steps.append(Cutout(round(cutout * size)))
    return _Transform(size, box, steps, is_random=crop is not None or crop_scale is not None)


class _Transform:
    """Draw the crop, decode at the smallest sufficient scale, stretch the crop to the square, then augment it."""

    def __init__(
        self, size: int, crop: crops.Crop, steps: Sequence[Callable[[Tensor], Tensor]], is_random: bool = False
    ) -> None:
        self.size, self.crop, self.steps, self.is_random = size, crop, steps, is_random

    def __call__(self, picture: Picture) -> Tensor:
        region = self.crop(picture.width, picture.height)
        pixels = picture.pixels(max(self.size / region[2], self.size / region[3]))
        down, across = pixels.shape[1] / picture.height, pixels.shape[2] / picture.width
        # A random box may be rounded once more in a picture that was decoded at a smaller scale, which is faster.
        rounded = _is_whole(region) and (self.is_random or _is_whole(_scaled(region, down, across)))
        if rounded:
            image = _resize_whole_box(pixels, region, down, across, self.size)
        else:
            image = _resize_exact_box(pixels, region, down, across, self.size)
        for step in self.steps:
            image = step(image)
        return image


def _scaled(region: crops.Region, down: float, across: float) -> crops.Region:
    left, top, width, height = region
    return left * across, top * down, width * across, height * down


def _is_whole(region: crops.Region) -> bool:
    """Whether a box has no fractions of pixels."""
    return all(abs(value - round(value)) < TOLERANCE for value in region)


def _resize_whole_box(pixels: Tensor, region: crops.Region, down: float, across: float, size: int) -> Tensor:
    """Resize a box to a square, uint8 (3, size, size). Torch's resize is fast, but takes whole pixels only.

    Args:
        pixels: uint8 (3, h, w), the picture, perhaps decoded at a smaller scale.
        region: the box in the picture's full size; what lies outside the picture becomes black.
        down, across: the height and width of `pixels` as shares of the full height and width.
        size: pixels per side.
    """
    left, top, width, height = region
    first_row, first_column = math.floor(top * down + 0.5), math.floor(left * across + 0.5)
    rows, columns = max(1, math.floor(height * down + 0.5)), max(1, math.floor(width * across + 0.5))
    box = pixels[:, max(0, first_row) : first_row + rows, max(0, first_column) : first_column + columns]
    if box.shape != pixels.shape:  # torch's resize is slow on a part of an image
        box = box.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    if first_row < 0 or first_column < 0:
        before, above = max(0, -first_column), max(0, -first_row)
        box = F.pad(box, [before, above, columns - box.shape[2] - before, rows - box.shape[1] - above])
    return F.resize(box, [size, size], InterpolationMode.BILINEAR, antialias=True)


def _resize_exact_box(pixels: Tensor, region: crops.Region, down: float, across: float, size: int) -> Tensor:
    """Resize a box with fractions of pixels to a square, uint8 (3, size, size).

    Pillow's resize takes such boxes, at four times the time of torch's. Arguments as in `_resize_whole_box`.
    """
    left, top, width, height = _scaled(region, down, across)
    box = (left, top, min(left + width, pixels.shape[2]), min(top + height, pixels.shape[1]))
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((size, size), Image.Resampling.BILINEAR, box)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class HorizontalFlip(torch.nn.Module):
    """Mirror an image left to right with a probability."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, image: Tensor) -> Tensor:
        return image.flip(2) if torch.rand(()) < self.probability else image


class Cutout(torch.nn.Module):
    """Hide a square of `side` pixels, centred anywhere on the image, behind middle grey (DeVries and Taylor 2017)."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        top = int(torch.randint(height, ())) - self.side // 2
        left = int(torch.randint(width, ())) - self.side // 2
        image = image.clone()
        image[..., max(0, top) : top + self.side, max(0, left) : left + self.side] = 128
        return image


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float], out: Tensor | None = None) -> Tensor:
    """uint8 images (B, 3, H, W) to float32 ``(value / 255 - mean) / std``, in the channels-last memory format.

    Args:
        images: uint8 (B, 3, H, W).
        mean, std: per channel, of values between 0 and 1.
        out: float32 memory of an earlier batch to write to, where it has the right shape; on a CPU allocating new
            memory takes longer than the arithmetic.

    >>> import torch
    >>> from tagformer.images import normalise
    >>> normalise(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8), (0.5, 0.5, 0.0), (0.5, 0.25, 1.0)).flatten()
    tensor([1., 2., 1.])
    """
    device, width = images.device, images.shape[3]
    scale = torch.tensor([1 / (255 * value) for value in std], device=device).repeat(width)
    offset = torch.tensor([-a / b for a, b in zip(mean, std, strict=True)], device=device).repeat(width)
    if out is None or out.shape != images.shape or out.device != device:
        out = torch.empty(images.shape, device=device, memory_format=torch.channels_last)
    # As (B, H, 3 W), with the factors repeated over a row: a CPU is slow on runs of three values. On a CPU image by
    # image, because one image fits its cache; in place, because an operation of mixed types makes a copy first.
    target, source = out.permute(0, 2, 3, 1).flatten(2), images.permute(0, 2, 3, 1).flatten(2)
    chunks = [(target, source)] if device.type == "cuda" else zip(target, source, strict=True)
    for written, pixels in chunks:
        written.copy_(pixels).mul_(scale).add_(offset)
    return out
