"""Batch norms folded into the convolutions before them, for inference: the same function with fewer passes."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tagformer.backbones.base import Backbone, batch_norms

TOLERANCE = 1e-4  # of the largest value of a feature map


@torch.no_grad()
def fold_batch_norms(backbone: Backbone, size: int) -> None:
    """Fold every batch norm of `backbone` that follows a convolution into it, in place.

    Which norm follows which convolution is seen from one image's way through the network, and the feature maps of that
    image must stay what they were. Where they do not (a convolution's output is used elsewhere too) nothing is folded.

    Args:
        backbone: in evaluation mode; it cannot be trained afterwards.
        size: pixels a side of the images that it takes.
    """
    if not any(True for _ in batch_norms(backbone)):
        return
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    image = image.to(next(backbone.parameters()).device)
    pairs, before = _followed(backbone, image)
    kept: dict[str, nn.Module] = {}
    for convolution, norm in pairs:
        for name in (convolution, norm):
            kept[name] = backbone.get_submodule(name)
        backbone.set_submodule(convolution, fuse_conv_bn_eval(kept[convolution], kept[norm]))  # type: ignore[type-var, arg-type]
        backbone.set_submodule(norm, getattr(kept[norm], "act", nn.Identity()))  # timm's norms carry the activation
    same = all(
        (old - new).abs().max() <= TOLERANCE * old.abs().max() for old, new in zip(before, backbone(image), strict=True)
    )
    if not same:
        for name, module in kept.items():
            backbone.set_submodule(name, module)


def _followed(backbone: Backbone, image: Tensor) -> tuple[list[tuple[str, str]], tuple[Tensor, ...]]:
    """The names of convolutions and of the batch norms right after them, and the image's feature maps."""
    made: dict[int, tuple[str, Tensor]] = {}  # with each tensor, so that no other takes its place in memory
    pairs: list[tuple[str, str]] = []
    hooks = []
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):

            def keep(_: nn.Module, __: Any, output: Tensor, name: str = name) -> None:
                made[id(output)] = (name, output)

            hooks.append(module.register_forward_hook(keep))
        elif isinstance(module, nn.BatchNorm2d):

            def match(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                if id(inputs[0]) in made:
                    pairs.append((made[id(inputs[0])][0], name))

            hooks.append(module.register_forward_pre_hook(match))
    try:
        maps = backbone(image)
    finally:
        for hook in hooks:
            hook.remove()
    uses = Counter(chain(*pairs))
    return [(convolution, norm) for convolution, norm in pairs if uses[convolution] == uses[norm] == 1], maps
