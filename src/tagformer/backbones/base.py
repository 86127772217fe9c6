"""What every backbone has in common: a pyramid of feature maps."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


class Backbone(nn.Module):
    """Images (B, 3, H, W), normalised, to feature maps from fine to coarse; the last is the network's final map.

    Attributes:
        channels: channels of each map.
        strides: pixels of the image to one position of each map.
        mean, std: of the images that the weights were trained on, for RGB in [0, 1].
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def freeze(self, maps: int | None = None) -> None:
        """Keep the weights up to and including the `maps` finest feature maps as they are; None: all of them."""
        raise NotImplementedError


def batch_norms(module: nn.Module) -> Iterable[nn.modules.batchnorm._BatchNorm]:
    """The batch normalisations within `module`."""
    return (child for child in module.modules() if isinstance(child, nn.modules.batchnorm._BatchNorm))


def has_folded_norms(module: nn.Module) -> bool:
    """Whether every batch norm's statistics are 0 and 1: weights whose norms were folded into the convolutions.

    Training such norms in batch mode would change what the network computes.
    """
    norms = list(batch_norms(module))
    return bool(norms) and all(
        norm.running_mean is not None
        and norm.running_var is not None
        and not norm.running_mean.any()
        and bool(((norm.running_var - 1).abs() <= 1.01 * norm.eps).all())
        for norm in norms
    )
