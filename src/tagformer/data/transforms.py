"""From a PIL image to uint8 tensors of one size. Normalisation comes later, on the device: see `normalise`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

ImageTransform = Callable[[Image.Image], Tensor]


def evaluation_transform(size: int, resize: str = "squash") -> ImageTransform:
    """RGB image to uint8 (3, size, size).

    Args:
        resize: ``squash`` stretches the whole image to the square; ``crop`` scales the shorter side and takes the
            centre.
    """
    return v2.Compose([v2.PILToTensor(), _to_size(size, resize)])


def training_transform(
    size: int,
    resize: str = "squash",
    crop_scale: Sequence[float] | None = None,
    flip: float = 0.5,
    rand_augment: int | None = None,
    cutout: float = 0.0,
) -> ImageTransform:
    """As `evaluation_transform`, with augmentation drawn from torch's generator.

    Args:
        crop_scale: (least, largest) share of the image's area that a random crop keeps, before it is stretched to the
            square; None takes the image as in evaluation.
        flip: probability of a horizontal flip.
        rand_augment: magnitude of RandAugment (2 operations) in 0..30, or None.
        cutout: side of a grey square that hides part of the image, as a share of the size.
    """
    steps: list[torch.nn.Module] = [v2.PILToTensor()]
    if crop_scale is not None:
        bounds = (float(crop_scale[0]), float(crop_scale[1]))
        steps.append(v2.RandomResizedCrop(size, scale=bounds, ratio=(3 / 4, 4 / 3), antialias=True))
    else:
        steps.append(_to_size(size, resize))
    if flip:
        steps.append(v2.RandomHorizontalFlip(flip))
    if rand_augment is not None:
        steps.append(v2.RandAugment(num_ops=2, magnitude=rand_augment))
    if cutout:
        steps.append(Cutout(round(cutout * size)))
    return v2.Compose(steps)


def _to_size(size: int, resize: str) -> torch.nn.Module:
    if resize == "squash":
        return v2.Resize((size, size), InterpolationMode.BILINEAR, antialias=True)
    if resize == "crop":
        return v2.Compose([v2.Resize(size, InterpolationMode.BILINEAR, antialias=True), v2.CenterCrop(size)])
    raise ValueError(f"resize must be 'squash' or 'crop', not {resize!r}")


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


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 images (B, 3, H, W) to float32 ``(value / 255 - mean) / std``, in the channels-last memory format."""
    shape = (1, 3, 1, 1)
    offset = torch.tensor(mean, device=images.device).view(shape)
    scale = torch.tensor(std, device=images.device).view(shape)
    values = images.to(memory_format=torch.channels_last).float().div_(255)
    return values.sub_(offset).div_(scale)
