"""A small convolutional network for the drawn scenes and for tests."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from tagformer.backbones.base import Backbone


class TinyBackbone(Backbone):
    """Six 3x3 convolutions with 32, 64 and 128 channels: 0.29 M weights, for images of 64 pixels on two CPU cores.

    >>> import torch
    >>> [tuple(feature_map.shape) for feature_map in TinyBackbone()(torch.zeros(1, 3, 64, 64))]
    [(1, 32, 32, 32), (1, 64, 16, 16), (1, 128, 8, 8)]
    """

    channels = (32, 64, 128)
    strides = (2, 4, 8)
    mean = std = (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *self.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(self._block(inputs, outputs, 2), self._block(outputs, outputs, 1))
            for inputs, outputs in pairwise(widths)
        )

    @staticmethod
    def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return tuple(maps)

    def freeze(self, maps: int | None = None) -> None:
        for stage in self.stages[:maps]:
            stage.requires_grad_(False)
