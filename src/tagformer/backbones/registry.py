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
from tagformer.extensions import is_reference, load_reference, own_code


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
    given = ", ".join(f"{option}={value}" for option, value in options.items()) or "no options"
    with own_code(name, f"backbone '{name}': its constructor, with {given},"):
        backbone = backbone_class(**{key: value for key, value in offered.items() if key in accepted}, **options)
    _check_description(name, backbone)
    if weights is not None:
        try:
            backbone.load_state_dict(read_weights(Path(weights)))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise TagformerError(f"weights file {weights} does not fit '{name}': {reason}") from error
    return backbone


def _check_description(name: str, backbone: Any) -> Backbone:
    """Check the attributes that describe the maps and the images of an own backbone.

    Raises:
        TagformerError: one is missing or has an impossible value.
    """
    for attribute in ("channels", "strides"):
        values: Any = getattr(backbone, attribute, None)
        if not isinstance(values, tuple | list) or not values or not all(_is_positive(value) for value in values):
            raise TagformerError(
                f"backbone '{name}': {attribute} must be a tuple with one positive whole number per feature map, "
                f"for example (64, 128), not {values!r}."
            )
    if len(backbone.channels) != len(backbone.strides):
        raise TagformerError(
            f"backbone '{name}' has {len(backbone.channels)} channels and {len(backbone.strides)} strides: "
            "both must have one number per feature map."
        )
    for attribute in ("mean", "std"):
        triple: Any = getattr(backbone, attribute, None)
        numbers = isinstance(triple, tuple | list) and all(isinstance(value, int | float) for value in triple)
        if not numbers or len(triple) != 3 or (attribute == "std" and min(triple) <= 0):
            raise TagformerError(
                f"backbone '{name}': {attribute} must be three numbers, for red, green and blue"
                f"{', each above 0' if attribute == 'std' else ''}, not {triple!r}."
            )
    return backbone


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
