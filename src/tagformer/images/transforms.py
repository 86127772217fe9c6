"""From a picture to uint8 tensors of one size. Normalisation comes later, on the device: see `normalise`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F  # noqa: N812

from tagformer.images import crops
from tagformer.images.reading import Picture


class ImageTransform(Protocol):
    """Makes a uint8 tensor (3, size, size) from a picture."""

    size: int

    def __call__(self, picture: Picture) -> Tensor: ...


RESIZES: dict[str, crops.Crop] = {
    "squash": crops.whole,
    "crop": crops.centre,
    "ctran": crops.middle(576 / 640),
}
CROPS: dict[str, Callable[[], crops.Crop]] = {"multi_scale": crops.multi_scale, "ctran": crops.random_square}


def evaluation_transform(size: int, resize: str = "squash") -> ImageTransform:
    """Picture to uint8 (3, size, size).

    Args:
        resize: ``squash`` stretches the whole image to the square; ``crop`` takes the largest square in the middle;
            ``ctran`` takes the middle nine tenths of each side, as C-Tran does in its tests, and stretches them.
    """
    if resize not in RESIZES:
        raise ValueError(f"resize must be one of {', '.join(RESIZES)}, not {resize!r}")
    return _Transform(size, RESIZES[resize], [])


def training_transform(
    size: int,
    resize: str = "squash",
    crop: str | None = None,
    crop_scale: Sequence[float] | None = None,
    flip: float = 0.5,
    rand_augment: int | None = None,
    cutout: float = 0.0,
) -> ImageTransform:
    """As `evaluation_transform`, with augmentation drawn from torch's generator.

    Args:
        crop: ``multi_scale`` (ML-GCN, CAT) or ``ctran``, see `crops`.
        crop_scale: (least, largest) share of the image's area that a random crop keeps, where `crop` is None. With
            neither the image is taken as in evaluation.
        flip: probability of a horizontal flip.
        rand_augment: magnitude of RandAugment (2 operations) in 0..30, or None.
        cutout: side of a grey square that hides part of the image, as a share of the size.
    """
    chosen = RESIZES[resize]
    if crop is not None:
        chosen = CROPS[crop]()
    elif crop_scale is not None:
        chosen = crops.random_area(crop_scale)
    steps: list[Callable[[Tensor], Tensor]] = []
    if flip:
        steps.append(lambda image: image.flip(2) if torch.rand(()) < flip else image)
    if rand_augment is not None:
        steps.append(v2.RandAugment(num_ops=2, magnitude=rand_augment))
    if cutout:
        steps.append(Cutout(round(cutout * size)))
    return _Transform(size, chosen, steps)


class _Transform:
    """Draw the crop, decode no more than it needs, stretch it to the square, then change the square."""

    def __init__(self, size: int, crop: crops.Crop, steps: Sequence[Callable[[Tensor], Tensor]]) -> None:
        self.size, self.crop, self.steps = size, crop, steps

    def __call__(self, picture: Picture) -> Tensor:
        left, top, width, height = self.crop(picture.width, picture.height)
        pixels = picture.pixels(max(self.size / width, self.size / height))
        down, across = pixels.shape[1] / picture.height, pixels.shape[2] / picture.width
        first_row, first_column = math.floor(top * down + 0.5), math.floor(left * across + 0.5)
        rows, columns = max(1, math.floor(height * down + 0.5)), max(1, math.floor(width * across + 0.5))
        box = pixels[:, first_row : first_row + rows, first_column : first_column + columns]
        if box.shape != pixels.shape:  # torch's resize is slow on a part of an image
            box = box.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        image = F.resize(box, [self.size, self.size], InterpolationMode.BILINEAR, antialias=True)
        for step in self.steps:
            image = step(image)
        return image


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
        out: float32 memory of an earlier batch to write to, where it has the right shape; fresh memory costs a CPU
            more time than the arithmetic.
    """
    device, width = images.device, images.shape[3]
    scale = torch.tensor([1 / (255 * part) for part in std], device=device).repeat(width)
    offset = torch.tensor([-a / b for a, b in zip(mean, std, strict=True)], device=device).repeat(width)
    if out is None or out.shape != images.shape or out.device != device:
        out = torch.empty(images.shape, device=device, memory_format=torch.channels_last)
    # (B, H, 3 W): factors for whole rows, for a CPU is slow on runs of three. There it takes one image at a time, which
    # stays in its cache; and an operation of mixed types would make a copy first.
    rows, pixels = out.permute(0, 2, 3, 1).flatten(2), images.permute(0, 2, 3, 1).flatten(2)
    parts = [(rows, pixels)] if device.type == "cuda" else zip(rows, pixels, strict=True)
    for written, part in parts:
        written.copy_(part).mul_(scale).add_(offset)
    return out
