"""What every backbone has in common: a pyramid of feature maps."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from tagformer.errors import TagformerError


class Backbone(nn.Module):
    """Images to a pyramid of feature maps: the base class of all backbones.

    Attributes:
        channels: channels of each map.
        strides: pixels per position of each map.
        mean, std: of the images that the weights were trained on, for RGB in [0, 1]; they normalise the images.

    >>> class OneMap(Backbone):
    ...     channels, strides = (8,), (4,)
    ...     def __init__(self) -> None:
    ...         super().__init__()
    ...         self.convolution = nn.Conv2d(3, 8, kernel_size=4, stride=4)
    ...     def forward(self, images: Tensor) -> tuple[Tensor, ...]:
    ...         return (self.convolution(images),)
    >>> import torch
    >>> [tuple(feature_map.shape) for feature_map in OneMap()(torch.zeros(2, 3, 32, 32))]
    [(2, 8, 8, 8)]
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (B, 3, H, W) to maps (B, C, h, w) from fine to coarse; the last is the final map."""
        raise NotImplementedError

    def freeze(self, maps: int | None = None) -> None:
        """Freeze the weights up to and including the `maps` finest feature maps; None: all weights.

        This default can freeze all weights or none; a subclass that can freeze single maps overrides it.

        Raises:
            TagformerError: the backbone cannot freeze single maps.
        """
        if maps:
            raise TagformerError(
                f"the backbone {type(self).__name__} cannot freeze single maps: set model.backbone.frozen_maps to 0, "
                "or freeze the whole backbone with optimizer.backbone_lr_factor=0."
            )
        if maps is None:
            self.requires_grad_(False)


def batch_norms(module: nn.Module) -> Iterable[nn.modules.batchnorm._BatchNorm]:
    """The batch norms within a module.

    >>> len(list(batch_norms(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))))
    1
    """
    return (child for child in module.modules() if isinstance(child, nn.modules.batchnorm._BatchNorm))


def has_folded_norms(module: nn.Module) -> bool:
    """Whether the statistics of every batch norm are 0 and 1: the norms were folded into the convolutions before.

    If such norms used the statistics of the batch in training, the output of the network would change.

    >>> has_folded_norms(nn.BatchNorm2d(4)), has_folded_norms(nn.Conv2d(3, 4, 1))
    (True, False)
    """
    norms = list(batch_norms(module))
    return bool(norms) and all(
        norm.running_mean is not None
        and norm.running_var is not None
        and not norm.running_mean.any()
        and bool(((norm.running_var - 1).abs() <= 1.01 * norm.eps).all())
        for norm in norms
    )
