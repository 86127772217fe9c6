"""Checkpoints of the authors' own code, read as our models."""

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

CTRAN_NAMES = (
    (r"backbone\.base_network\.(?!fc\.)(.+)", r"backbone.network.\1"),
    (r"label_lt\.weight", "label_embedding.weight"),
    (r"known_label_lt\.weight", "state_embedding.weight"),
    (r"LayerNorm\.(weight|bias)", r"norm.\1"),
    (r"self_attn_layers\.(\d+)\.transformer_layer\.(.+)", r"encoder.\1.\2"),
    (r"output_linear\.(weight|bias)", r"classifier_\1"),
)
SCALAR: Any = np.float64(0).__reduce__()[0]  # what makes a number of NumPy when a file is read
NUMBERS: list[Any] = [  # the figures that the authors' code keeps beside its weights
    *((SCALAR, f"{module}.multiarray.scalar") for module in ("numpy.core", "numpy._core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)),
]
UNUSED = re.compile(r"backbone\.base_network\.fc\.(weight|bias)")  # torchvision's classifier, which C-Tran leaves out


def convert_checkpoint(
    name: str, path: str | Path, labels: Sequence[str] | LabelSpace, **options: Any
) -> MultiLabelModel:
    """The model in a checkpoint that the authors' own code wrote.

    Args:
        name: which code: ``ctran``.
        path: the checkpoint, with the state dict itself or one under ``state_dict`` or ``model``.
        labels: the names of the labels in the checkpoint's order, which the file does not say.
        options: what the weights do not show; for ``ctran``: ``heads`` (4) and ``backbone`` (resnet101).

    Returns:
        The model in evaluation mode; whoever uses it finds labels by name.

    Raises:
        TagformerError: no such converter, a file that cannot be read or holds something else, another number of labels.
    """
    return read_checkpoint(name, path, labels, **options)[0]


def read_checkpoint(
    name: str, path: str | Path, labels: Sequence[str] | LabelSpace, **options: Any
) -> tuple[MultiLabelModel, dict[str, Any]]:
    """As `convert_checkpoint`, with the options of our model that the checkpoint's weights have.

    Raises:
        TagformerError: as there.
    """
    if name not in CONVERTERS:
        raise TagformerError(f"cannot import '{name}'{did_you_mean(name, CONVERTERS)}: use {' or '.join(CONVERTERS)}.")
    model, own = CONVERTERS[name](_state_of(Path(path)), LabelSpace.of(labels), Path(path), **options)
    return model.eval(), own


def _ctran(
    state: Mapping[str, Tensor], labels: LabelSpace, path: Path, heads: int = 4, backbone: str = "resnet101"
) -> tuple[MultiLabelModel, dict[str, Any]]:
    """C-Tran, https://github.com/QData/C-Tran.

    The row of the unknown state is kept as it is in the file: that code means it to be zero, but overwrites it.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if UNUSED.fullmatch(key):
            continue
        for pattern, ours in CTRAN_NAMES:
            if re.fullmatch(pattern, key):
                renamed[re.sub(pattern, ours, key)] = value
                break
        else:
            raise TagformerError(f"{path} is no checkpoint of C-Tran's published model: its key '{key}' has no place.")
    for key in ("label_embedding.weight", "encoder.0.linear1.weight"):
        if key not in renamed or renamed[key].ndim != 2:
            raise TagformerError(f"{path} is no checkpoint of C-Tran: it has no weights for '{key}'.")
    count, width = renamed["label_embedding.weight"].shape
    if count != len(labels):
        raise TagformerError(f"{path} has {count} labels, but {len(labels)} names are given: name each, in its order.")
    options: dict[str, Any] = {
        "width": width,
        "layers": len({key.split(".")[1] for key in renamed if key.startswith("encoder.")}),
        "heads": heads,
        "feedforward": len(renamed["encoder.0.linear1.weight"]),
    }
    model = CTran(labels, create_backbone(backbone, pretrained=False), **options)
    for key, value in model.state_dict().items():  # older files have no such counts, and nothing reads them
        if key.endswith("num_batches_tracked"):
            renamed.setdefault(key, value)
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        reason = str(error).splitlines()[1 if "\n" in str(error) else 0].strip()
        raise TagformerError(f"{path} does not fit C-Tran on {backbone}: {reason}") from error
    return model, options


CONVERTERS: dict[str, Callable[..., tuple[MultiLabelModel, dict[str, Any]]]] = {"ctran": _ctran}


def _state_of(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, its keys without DataParallel's ``module.``."""
    if not path.is_file():
        raise TagformerError(f"checkpoint {path} does not exist.")
    try:
        with torch.serialization.safe_globals(NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises errors of any kind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, UnpicklingError):  # whose text is torch's advice
            reason = "no weights, or other objects beside them"
        raise TagformerError(f"checkpoint {path} cannot be read ({reason}): give a file of weights alone.") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise TagformerError(f"checkpoint {path} holds no state dict: give the file with the model's weights.")
    return {key.removeprefix("module."): value for key, value in content.items()}
