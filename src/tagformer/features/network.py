"""A frozen backbone: a copy that is only run forwards, and a digest of all that its maps depend on."""

from __future__ import annotations

import copy
import hashlib
import json
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.backbones.folding import fold_batch_norms
from tagformer.errors import TagformerError
from tagformer.features.segment import Shape

LARGEST = torch.finfo(torch.float16).max


class FrozenBackbone:
    """A copy of a backbone in evaluation mode, its batch norms folded.

    Args:
        backbone: not changed.
        size: height and width of the images in pixels.
        maps: how many feature maps are computed, counted from the coarsest.
        device: where it runs.

    Attributes:
        digest: the same for the same weights and the same layers with the same settings.
        device: where it runs.
        shapes: (C, h, w) of each map from fine to coarse.

    Raises:
        TagformerError: the backbone has fewer maps.
    """

    def __init__(self, backbone: Backbone, size: int, maps: int, device: torch.device) -> None:
        if maps > len(backbone.channels):
            raise TagformerError(f"{maps} feature maps are asked for, but the backbone has {len(backbone.channels)}.")
        network = copy.deepcopy(backbone).cpu().eval().requires_grad_(False)
        fold_batch_norms(network, size)
        self.digest = backbone_digest(network)
        self._network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._count, self.device = maps, device
        image = torch.zeros(1, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
        self.shapes: list[Shape] = [(array.shape[1], array.shape[2], array.shape[3]) for array in self(image)]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (B, 3, H, W) to the coarsest maps, each (B, C, h, w)."""
        return tuple(self._network(images)[-self._count :])


def backbone_digest(backbone: Backbone) -> str:
    """A digest of the weights, of the layers' classes and of their plain settings, such as strides and windows.

    >>> from tagformer.backbones import create_backbone
    >>> first, second = create_backbone("tiny"), create_backbone("tiny")
    >>> backbone_digest(first) == backbone_digest(first), backbone_digest(first) == backbone_digest(second)
    (True, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    layers = [
        [name, f"{type(module).__module__}.{type(module).__qualname__}", _plain_settings(module)]
        for name, module in backbone.named_modules()
    ]
    digest.update(json.dumps([version("timm"), layers], sort_keys=True).encode())
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _plain_settings(module: nn.Module) -> dict[str, str]:
    return {
        name: repr(value)
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "training" and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def in_half_precision(array: Tensor) -> tuple[Tensor, int]:
    """A float32 map as float16 on the CPU, and how many values were beyond its range and are clipped to 65,504.

    Raises:
        ValueError: a value is not a number or infinite.

    >>> in_half_precision(torch.tensor([1.0, -1e6]))
    (tensor([ 1.0000e+00, -6.5504e+04], dtype=torch.float16), 1)
    """
    array = array.float()
    if not array.isfinite().all():
        raise ValueError("not finite")
    clipped = int((array.abs() > LARGEST).sum())
    return array.clamp(-LARGEST, LARGEST).to("cpu", torch.float16), clipped
