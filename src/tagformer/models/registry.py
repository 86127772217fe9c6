"""Models by name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from tagformer.backbones.base import Backbone
from tagformer.backbones.registry import create_backbone
from tagformer.errors import TagformerError, did_you_mean
from tagformer.extensions import is_reference, load_reference, meant_reference, own_code
from tagformer.labels.space import LabelSpace
from tagformer.models.base import MultiLabelModel
from tagformer.models.cat import CAT
from tagformer.models.csra import CSRA
from tagformer.models.ctran import CTran
from tagformer.models.evidence import Evidence
from tagformer.models.fpn import FPN
from tagformer.models.linear import Linear
from tagformer.models.ml_decoder import MLDecoder
from tagformer.models.mltr import MlTr
from tagformer.models.query2label import Query2Label
from tagformer.models.renamed import current_options

MODELS: dict[str, type[MultiLabelModel]] = {
    "cat": CAT,
    "csra": CSRA,
    "ctran": CTran,
    "evidence": Evidence,
    "fpn": FPN,
    "linear": Linear,
    "ml_decoder": MLDecoder,
    "mltr": MlTr,
    "query2label": Query2Label,
}


def list_models() -> list[str]:
    """The names of the built-in models.

    >>> list_models()
    ['cat', 'csra', 'ctran', 'evidence', 'fpn', 'linear', 'ml_decoder', 'mltr', 'query2label']
    """
    return sorted(MODELS)


def model_class(name: str) -> type[MultiLabelModel]:
    """The class of a model.

    Args:
        name: one of `list_models`, or ``package.module:Class``, a subclass of `MultiLabelModel`.

    Raises:
        TagformerError: the name is unknown, or the reference is wrong.

    >>> model_class("ctran").uses_known
    True
    """
    if is_reference(name):
        return load_reference(name, "model", base=MultiLabelModel)
    if name not in MODELS:
        raise TagformerError(
            f"unknown model '{name}'{meant_reference(name) or did_you_mean(name, MODELS)} "
            f"(models: {', '.join(list_models())}; or your own, package.module:Class)."
        )
    return MODELS[name]


def create_model(
    name: str,
    labels: int | Sequence[str] | LabelSpace,
    backbone: str | Backbone | None = None,
    pretrained: bool | str | Path = True,
    **options: Any,
) -> MultiLabelModel:
    """Create a model.

    Args:
        name: one of `list_models`, or ``package.module:Class``, a subclass of `MultiLabelModel`.
        labels: the number of labels, their names, or a `LabelSpace`.
        backbone: a name that `create_backbone` accepts, or a `Backbone`; None: the default of the model.
        pretrained: True for the pretrained weights of the backbone, False for random weights, or a local weights file.
        options: of the model; ``model_class(name).options()`` lists them.

    Raises:
        TagformerError: the model, the backbone or an option is unknown; an option has an impossible value; or the
            weights cannot be downloaded, read or used.

    >>> import torch
    >>> model = create_model("ctran", labels=["cat", "dog"], backbone="tiny", width=64)
    >>> model(torch.zeros(1, 3, 64, 64)).logits.shape
    torch.Size([1, 2])
    """
    kind = model_class(name)
    options = _validated(name, kind, current_options(name, options))
    if not isinstance(backbone, Backbone):
        from_file = not isinstance(pretrained, bool)
        backbone = create_backbone(
            backbone or kind.default_backbone,
            pretrained=pretrained is True,
            weights=pretrained if from_file else None,  # type: ignore[arg-type]
        )
    if is_reference(name):
        return _create_own(name, kind, LabelSpace.of(labels), backbone, options)
    return kind(LabelSpace.of(labels), backbone, **options)


def _create_own(
    name: str, kind: type[MultiLabelModel], label_space: LabelSpace, backbone: Backbone, options: dict[str, Any]
) -> MultiLabelModel:
    """A model by reference, with the attributes that every model has."""
    try:
        inspect.signature(kind).bind(label_space, backbone, **options)
    except TypeError as error:
        raise TagformerError(
            f"model '{name}': its constructor must take label_space and backbone, then options with defaults ({error})."
        ) from error
    with own_code(name, f"model '{name}': its constructor"):
        model = kind(label_space, backbone, **options)
    if getattr(model, "label_space", None) != label_space or not isinstance(getattr(model, "backbone", None), Backbone):
        raise TagformerError(
            f"model '{name}': begin its constructor with super().__init__(label_space, backbone), which keeps both."
        )
    return model


def _validated(name: str, kind: type[MultiLabelModel], options: dict[str, Any]) -> dict[str, Any]:
    """The options of a model, each converted to the type that the constructor declares.

    Raises:
        TagformerError: an option is unknown or has an impossible value.
    """
    allowed = kind.options()
    validated = dict(options)
    for option in options:
        if option not in allowed:
            raise TagformerError(
                f"model '{name}' has no option '{option}'{did_you_mean(option, allowed)} "
                f"(options: {', '.join(allowed) or 'none'})."
            )
    for option, value in options.items():
        try:
            validated[option] = TypeAdapter(_type_of(name, kind, option)).validate_python(value)
        except PydanticUserError:
            continue  # a class that pydantic cannot check
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            reason = reason[0].lower() + reason[1:]
            raise TagformerError(f"model '{name}', option {option}={value}: {reason}.") from error
    return validated


def _type_of(name: str, kind: type[MultiLabelModel], option: str) -> Any:
    """The type that the constructor declares for an option; its other type hints need not exist at run time.

    Raises:
        TagformerError: the type hint of the option does not exist.
    """
    hint = inspect.signature(kind.__init__).parameters[option].annotation
    if hint is inspect.Parameter.empty:
        return Any
    only_hint = SimpleNamespace(__annotations__={option: hint})
    names = getattr(kind.__init__, "__globals__", {})
    with own_code(name, f"model '{name}': the type hint {hint!r} of its option '{option}'"):
        return get_type_hints(only_hint, globalns=names, include_extras=True)[option]
