"""Models by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tagformer.backbones.base import Backbone
from tagformer.backbones.registry import create_backbone
from tagformer.errors import TagformerError, did_you_mean
from tagformer.labels.space import LabelSpace
from tagformer.models.base import MultiLabelModel
from tagformer.models.cat import CAT
from tagformer.models.ctran import CTran
from tagformer.models.fpn import FPN
from tagformer.models.linear import Linear
from tagformer.models.mltr import MlTr

MODELS: dict[str, type[MultiLabelModel]] = {"cat": CAT, "ctran": CTran, "fpn": FPN, "linear": Linear, "mltr": MlTr}


def list_models() -> list[str]:
    """The names that `create_model` takes."""
    return sorted(MODELS)


def create_model(
    name: str,
    labels: int | Sequence[str] | LabelSpace,
    backbone: str | Backbone | None = None,
    pretrained: bool | str | Path = True,
    **options: Any,
) -> MultiLabelModel:
    """Create a model.

    Args:
        name: one of `list_models`.
        labels: how many there are, their names, or a `LabelSpace`.
        backbone: a timm name, ``tiny``, a variant of MlTr, or a `Backbone`; None: the model's default.
        pretrained: True for the weights that timm names, False for random ones, or a local weights file.
        options: the model's own; ``MODELS[name].options()`` lists them.

    Raises:
        TagformerError: unknown model, backbone or option; a value that an option cannot have; weights that cannot be
            had.

    >>> import torch
    >>> model = create_model("ctran", labels=["cat", "dog"], backbone="tiny", width=64)
    >>> model(torch.zeros(1, 3, 64, 64)).logits.shape
    torch.Size([1, 2])
    """
    if name not in MODELS:
        raise TagformerError(
            f"unknown model '{name}'{did_you_mean(name, MODELS)} (models: {', '.join(list_models())})."
        )
    allowed = MODELS[name].options()
    for option in options:
        if option not in allowed:
            raise TagformerError(
                f"model '{name}' has no option '{option}'{did_you_mean(option, allowed)} "
                f"(options: {', '.join(allowed)})."
            )
    hints = get_type_hints(MODELS[name].__init__, include_extras=True)
    for option, value in options.items():
        try:
            options[option] = TypeAdapter(hints[option]).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            reason = reason[0].lower() + reason[1:]
            raise TagformerError(f"model '{name}', option {option}={value}: {reason}.") from error
    if not isinstance(backbone, Backbone):
        from_file = not isinstance(pretrained, bool)
        backbone = create_backbone(
            backbone or MODELS[name].default_backbone,
            pretrained=pretrained is True,
            weights=pretrained if from_file else None,  # type: ignore[arg-type]
        )
    return MODELS[name](LabelSpace.of(labels), backbone, **options)
