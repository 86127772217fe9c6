"""Backbones by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tagformer.backbones.base import Backbone
from tagformer.backbones.mltr.variants import VARIANTS, create_mltr
from tagformer.backbones.timm import TINY, TimmBackbone
from tagformer.backbones.tiny import TinyBackbone
from tagformer.errors import TagformerError


def create_backbone(
    name: str,
    pretrained: bool = True,
    weights: str | Path | None = None,
    image_size: int | None = None,
    **options: Any,
) -> Backbone:
    """``tiny``, a variant of MlTr, or any timm network.

    See `TimmBackbone` and `create_mltr` for the arguments and errors.
    """
    if name == TINY:
        if weights is not None:
            raise TagformerError("the backbone 'tiny' has no weights to load: leave the weights out.")
        return TinyBackbone()
    if name in VARIANTS:
        return create_mltr(name, pretrained, weights, image_size, **options)
    return TimmBackbone(name, pretrained, weights, image_size=image_size, **options)
