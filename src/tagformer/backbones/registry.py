"""Backbones by name."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from tagformer.backbones.base import Backbone
from tagformer.backbones.mltr.variants import VARIANTS, create_mltr
from tagformer.backbones.timm import TINY, TimmBackbone, read_weights
from tagformer.backbones.tiny import TinyBackbone
from tagformer.errors import TagformerError
from tagformer.extensions import is_reference, load_reference


def create_backbone(
    name: str,
    pretrained: bool = True,
    weights: str | Path | None = None,
    image_size: int | None = None,
    **options: Any,
) -> Backbone:
    """Create a backbone.

    Args:
        name: ``tiny``, a variant of MlTr, any name of timm, or ``package.module:Class``, a subclass of `Backbone`.
        pretrained: start from pretrained weights. A class of your own decides itself which these are, if any; it is
            passed `pretrained` and `image_size` if its constructor has arguments of these names.
        weights: start from a local .safetensors or .pth file instead.
        image_size: height and width of the images in pixels, for networks that are built for one size.
        options: of the backbone; see `TimmBackbone` and `MlTrBackbone`.

    Raises:
        TagformerError: the name or an option is unknown, or the weights cannot be downloaded, read or used.

    >>> create_backbone("tiny").channels
    (32, 64, 128)
    >>> create_backbone("tagformer.backbones.tiny:TinyBackbone").channels
    (32, 64, 128)
    """
    if is_reference(name):
        return _create_own(name, pretrained and weights is None, weights, image_size, options)
    if name == TINY:
        if weights is not None:
            raise TagformerError("the backbone 'tiny' has no weights to load: leave the weights out.")
        return TinyBackbone()
    if name in VARIANTS:
        return create_mltr(name, pretrained, weights, image_size, **options)
    return TimmBackbone(name, pretrained, weights, image_size=image_size, **options)


def _create_own(
    name: str, pretrained: bool, weights: str | Path | None, image_size: int | None, options: dict[str, Any]
) -> Backbone:
    """A backbone by reference, with all its weights from a file if there is one."""
    backbone_class = load_reference(name, "backbone", base=Backbone)
    accepted = inspect.signature(backbone_class).parameters
    offered = {"pretrained": pretrained, "image_size": image_size}
    try:
        backbone = backbone_class(**{key: value for key, value in offered.items() if key in accepted}, **options)
    except TypeError as error:
        raise TagformerError(f"backbone '{name}' cannot be created with these options: {error}.") from error
    if weights is not None:
        try:
            backbone.load_state_dict(read_weights(Path(weights)))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise TagformerError(f"weights file {weights} does not fit '{name}': {reason}") from error
    return backbone
