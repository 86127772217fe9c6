"""How an image becomes the network's input: size, resize, mean and standard deviation as one object."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tagformer.images.reading import Picture, open_picture
from tagformer.images.source import ImageSource
from tagformer.images.transforms import ImageTransform, evaluation_crop, evaluation_transform, normalise

Triple = tuple[float, float, float]
Corners = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of the image's width and height


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input in evaluation: a square of one size, normalised channel by channel.

    Attributes:
        size: pixels per side of the square.
        resize: how the image becomes a square: ``squash``, ``crop``, ``ctran`` or ``centre``, see
            `evaluation_transform`.
        mean, std: per channel, of pixel values between 0 and 1.

    Raises:
        ValueError: an unknown `resize`.

    >>> import torch
    >>> from PIL import Image
    >>> from tagformer.images import Picture, Preprocessing
    >>> preprocessing = Preprocessing(size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    >>> pixels = preprocessing.transform(Picture.of(Image.new("RGB", (80, 60), "white")))
    >>> pixels.shape, pixels.dtype
    (torch.Size([3, 32, 32]), torch.uint8)
    >>> preprocessing.normalise(pixels.unsqueeze(0)).max()
    tensor(1.)
    """

    size: int
    resize: str = "squash"
    mean: Triple = (0.5, 0.5, 0.5)
    std: Triple = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        evaluation_crop(self.resize, self.size)

    @cached_property
    def transform(self) -> ImageTransform:
        """A function from a picture to uint8 (3, size, size), the form in which loader processes hand images over."""
        return evaluation_transform(self.size, self.resize)

    def normalise(self, images: Tensor, out: Tensor | None = None) -> Tensor:
        """uint8 images (B, 3, size, size), on any device, to the network's float32 input; see `transforms.normalise`.

        Args:
            images: of `transform`.
            out: float32 memory of an earlier batch to write to, where it has the right shape.
        """
        return normalise(images, self.mean, self.std, out)

    def load(self, image: ImageSource | Picture, device: torch.device | str | None = None) -> Tensor:
        """Read one image as the network's input, float32 (1, 3, size, size) on `device`.

        Raises:
            BadImageError: the image cannot be read; the message names it.

        >>> from PIL import Image
        >>> from tagformer.images import Picture, Preprocessing
        >>> Preprocessing(size=32).load(Picture.of(Image.new("L", (80, 60)))).shape
        torch.Size([1, 3, 32, 32])
        """
        picture = image if isinstance(image, Picture) else open_picture(image)
        return self.normalise(self.transform(picture).unsqueeze(0).to(device=device))

    def region(self, picture: Picture) -> Corners:
        """The part of the picture that the network sees; beyond 0 and 1 with ``centre`` and a smaller picture.

        >>> from PIL import Image
        >>> from tagformer.images import Picture, Preprocessing
        >>> Preprocessing(size=32, resize="crop").region(Picture.of(Image.new("RGB", (80, 60))))
        (0.125, 0.0, 0.875, 1.0)
        """
        left, top, width, height = evaluation_crop(self.resize, self.size)(picture.width, picture.height)
        return (
            left / picture.width,
            top / picture.height,
            (left + width) / picture.width,
            (top + height) / picture.height,
        )
