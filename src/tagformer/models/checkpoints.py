"""Checkpoints of the papers' authors, converted to models of Tagformer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tagformer.backbones.registry import create_backbone
from tagformer.errors import TagformerError, did_you_mean
from tagformer.labels.space import LabelSpace
from tagformer.models.base import MultiLabelModel
from tagformer.models.ctran import CTran

CTRAN_NAMES = (  # names of weights in the authors' code, and ours
    (r"backbone\.base_network\.(?!fc\.)(.+)", r"backbone.network.\1"),
    (r"label_lt\.weight", "label_embedding.weight"),
    (r"known_label_lt\.weight", "state_embedding.weight"),
    (r"LayerNorm\.(weight|bias)", r"norm.\1"),
    (r"self_attn_layers\.(\d+)\.transformer_layer\.(.+)", r"encoder.\1.\2"),
    (r"output_linear\.(weight|bias)", r"classifier_\1"),
)
SCALAR: Any = np.float64(0).__reduce__()[0]  # the function that unpickles a NumPy number
NUMBERS: list[Any] = [  # types of the metrics that the authors' code saves together with the weights
    *((SCALAR, f"{module}.multiarray.scalar") for module in ("numpy.core", "numpy._core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)),
]
UNUSED = re.compile(r"backbone\.base_network\.fc\.(weight|bias)")  # torchvision's classifier, which C-Tran does not use


def convert_checkpoint(
    name: str, path: str | Path, labels: Sequence[str] | LabelSpace, **options: Any
) -> MultiLabelModel:
    """Convert a checkpoint that the authors' code wrote.

    Args:
        name: of the paper's model; only ``ctran`` is supported.
        path: the checkpoint, which contains a state dict, alone or under ``state_dict`` or ``model``.
        labels: the names of the labels in the order of the checkpoint, which the file does not contain.
        options: what the shapes of the weights do not tell; for ``ctran``: ``heads`` (default 4) and ``backbone``
            (default resnet101).

    Returns:
        The model in evaluation mode.

    Raises:
        TagformerError: the name is unknown, the file cannot be read or has other content, or the number of labels
            differs.

    >>> from tagformer.models import convert_checkpoint
    >>> convert_checkpoint("ctran", "best_model.pt", labels=["cat", "dog"])
    Traceback (most recent call last):
        ...
    tagformer.errors.TagformerError: checkpoint best_model.pt does not exist.
    """
    return read_checkpoint(name, path, labels, **options)[0]


def read_checkpoint(
    name: str, path: str | Path, labels: Sequence[str] | LabelSpace, **options: Any
) -> tuple[MultiLabelModel, dict[str, Any]]:
    """The model of `convert_checkpoint`, and its options as derived from the shapes of the weights.

    Raises:
        TagformerError: as in `convert_checkpoint`.
    """
    if name not in CONVERTERS:
        raise TagformerError(f"cannot import '{name}'{did_you_mean(name, CONVERTERS)}: use {' or '.join(CONVERTERS)}.")
    model, derived = CONVERTERS[name](_read_state(Path(path)), LabelSpace.of(labels), Path(path), **options)
    return model.eval(), derived


def _ctran(
    state: Mapping[str, Tensor], labels: LabelSpace, path: Path, heads: int = 4, backbone: str = "resnet101"
) -> tuple[MultiLabelModel, dict[str, Any]]:
    """C-Tran, https://github.com/QData/C-Tran.

    The embedding of the unknown state is loaded from the file: the authors meant it to be zero, but their
    initialisation overwrites it.
    """
    renamed = _renamed_ctran(state, path)
    count, width = renamed["label_embedding.weight"].shape
    if count != len(labels):
        raise TagformerError(
            f"{path} has {count} labels, but {len(labels)} names are given: "
            "give the name of every label, in the order of the checkpoint."
        )
    options: dict[str, Any] = {
        "width": width,
        "layers": len({key.split(".")[1] for key in renamed if key.startswith("encoder.")}),
        "heads": heads,
        "feedforward": len(renamed["encoder.0.linear1.weight"]),
    }
    model = CTran(labels, create_backbone(backbone, pretrained=False), **options)
    for key, value in model.state_dict().items():  # older files lack these counters, which no model reads
        if key.endswith("num_batches_tracked"):
            renamed.setdefault(key, value)
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        reason = str(error).splitlines()[1 if "\n" in str(error) else 0].strip()
        raise TagformerError(f"{path} does not fit C-Tran on {backbone}: {reason}") from error
    return model, options


def _renamed_ctran(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The state dict of the authors' code under our names.

    Raises:
        TagformerError: a key is unknown, or the weights that tell the sizes are missing.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if UNUSED.fullmatch(key):
            continue
        name = next((re.sub(theirs, ours, key) for theirs, ours in CTRAN_NAMES if re.fullmatch(theirs, key)), None)
        if name is None:
            raise TagformerError(f"{path} is not a checkpoint of C-Tran's published model: its key '{key}' is unknown.")
        renamed[name] = value
    for key in ("label_embedding.weight", "encoder.0.linear1.weight"):
        if key not in renamed or renamed[key].ndim != 2:
            raise TagformerError(f"{path} is not a checkpoint of C-Tran: it has no weights for '{key}'.")
    return renamed


CONVERTERS: dict[str, Callable[..., tuple[MultiLabelModel, dict[str, Any]]]] = {"ctran": _ctran}


def _read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, its keys without DataParallel's ``module.``."""
    if not path.is_file():
        raise TagformerError(f"checkpoint {path} does not exist.")
    try:
        with torch.serialization.safe_globals(NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises errors of any kind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, UnpicklingError):  # its text is advice for users of torch.load
            reason = "it contains no weights, or also other objects"
        raise TagformerError(f"checkpoint {path} cannot be read ({reason}): give a file of weights only.") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise TagformerError(f"checkpoint {path} contains no state dict: give the file with the model's weights.")
    return {key.removeprefix("module."): value for key, value in content.items()}
