"""One step on two random images, before anything is written: what is wrong with an own part is reported at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tagformer.backbones.base import Backbone
from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.extensions import is_reference, own_code
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.models.base import ModelOutput, MultiLabelModel
from tagformer.training.module import TrainingModule

BATCH = 2


def try_own_parts(module: TrainingModule, train: MultiLabelDataset) -> None:
    """Check an own model, backbone or loss by one step on two random images; built-in parts alone are not tried.

    Neither the weights nor the random draws of the training change.

    Args:
        module: what will be trained.
        train: the training data; the step takes two of its rows of labels.

    Raises:
        TagformerError: the part fails, or what it returns is not what `Backbone`, `MultiLabelModel` or
            `losses.binary_cross_entropy` promises.
    """
    recipe = module.recipe
    own = {"model": recipe.model.name, "backbone": recipe.model.backbone.name, "loss": recipe.loss.name}
    own = {kind: name for kind, name in own.items() if is_reference(name)}
    if not own:
        return
    with torch.random.fork_rng():
        torch.manual_seed(0)
        images = torch.randn(BATCH, 3, recipe.image.size, recipe.image.size)
        images = images.contiguous(memory_format=torch.channels_last)
        model = _copied(module.model, own)
        if "backbone" in own and model.uses_image:
            _try_backbone(model.backbone.train(), images, own["backbone"])
        if "model" in own:
            _try_model(model.eval(), images, own["model"])
        _try_step(module, model.train(), images, _labelled_rows(train), own)


def _copied(model: MultiLabelModel, own: dict[str, str]) -> MultiLabelModel:
    kind, name = next(iter(own.items()))
    advice = "training copies the model, so keep only modules, parameters, buffers and plain values in it"
    with own_code(name, f"{kind} '{name}': copying it", advice):
        return copy.deepcopy(model)


def _try_backbone(backbone: Backbone, images: Tensor, name: str) -> None:
    """Check the maps that a backbone returns against its channels."""
    part = f"backbone '{name}': forward"
    with own_code(name, part), torch.no_grad():
        maps: Any = backbone(images)
    if not isinstance(maps, tuple | list) or not all(isinstance(feature_map, Tensor) for feature_map in maps):
        raise TagformerError(f"{part} must return a tuple of feature maps, not {_described(maps)}.")
    if len(maps) != len(backbone.channels):
        raise TagformerError(f"{part} returns {len(maps)} feature maps, but channels has {len(backbone.channels)}.")
    for number, (feature_map, channels) in enumerate(zip(maps, backbone.channels, strict=True)):
        if feature_map.ndim != 4 or feature_map.shape[:2] != (BATCH, channels):
            raise TagformerError(
                f"{part}: feature map {number} must be of shape (B, {channels}, h, w) as channels describes it, "
                f"not {_shape(feature_map)}."
            )


def _try_model(model: MultiLabelModel, images: Tensor, name: str) -> None:
    """Check `encode` and `decode` of a model, without and with known labels."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TagformerError(f"model '{name}' has no weights that can be trained: leave requires_grad on for some.")
    with torch.no_grad():
        with own_code(name, f"model '{name}': encode"):
            features: Any = model.encode(images)
        if not isinstance(features, Tensor) or features.ndim == 0 or len(features) != BATCH:
            raise TagformerError(
                f"model '{name}': encode must return one tensor (B, ...) with as many rows as images, "
                f"not {_described(features)}."
            )
        _check_output(_decoded(model, features, None, name), model, name)
        if model.uses_known:
            shape = (BATCH, len(model.label_space))
            for known in (torch.full(shape, UNKNOWN, dtype=torch.int8), _states(*shape), _states(1, shape[1])):
                _check_output(_decoded(model, features, known, name), model, name)


def _decoded(model: MultiLabelModel, features: Tensor, known: Tensor | None, name: str) -> Any:
    advice = "without known labels, known is None" if known is None and model.uses_known else ""
    with own_code(name, f"model '{name}': decode", advice):
        return model.decode(features, known)


def _check_output(output: Any, model: MultiLabelModel, name: str) -> None:
    part = f"model '{name}': decode"
    if not isinstance(output, ModelOutput):
        raise TagformerError(f"{part} must return a ModelOutput, not {_described(output)}.")
    logits: Any = output.logits
    expected = (BATCH, len(model.label_space))
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.shape != expected:
        raise TagformerError(
            f"{part} must return float logits of shape (B, L), here {expected}, not {_described(logits)}."
        )
    if not logits.isfinite().all():
        raise TagformerError(f"{part} returns logits that are not finite numbers, on random images.")


def _try_step(
    module: TrainingModule, model: MultiLabelModel, images: Tensor, labels: Tensor, own: dict[str, str]
) -> None:
    """A step of training, and the loss of a validation."""
    known = module.draw_training_known(labels)
    kind, name = next(iter(own.items()))
    with own_code(name, f"{kind} '{name}': a step of training"):
        output = model(images, known)
    kind, name = ("loss", own["loss"]) if "loss" in own else (kind, name)
    part = f"{kind} '{name}': the loss of a step"
    with own_code(name, part):
        losses: Sequence[Any] = (
            module.output_loss(output, labels, known),
            module.loss(output.logits, module.targets(labels, known), "mean"),
        )
    for loss in losses:
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise TagformerError(f"{part} must be a tensor with one number, not {_described(loss)}.")
    if not losses[0].requires_grad:
        raise TagformerError(f"{part} does not depend on any weight, so nothing can be trained: do not detach tensors.")
    with own_code(name, f"{kind} '{name}': the gradient of a step"):
        losses[0].backward()


def _labelled_rows(train: MultiLabelDataset) -> Tensor:
    """int8 (2, L): the labels of the first two images that have any; of one image twice where there is no other."""
    rows = (train.label_rows.count_by_row(PRESENT) > 0).nonzero().flatten()[:BATCH].tolist()
    return torch.stack([train.label_rows[row] for row in (rows * BATCH)[:BATCH]])


def _states(rows: int, columns: int) -> Tensor:
    """int8 (rows, columns) with all three states where there is room."""
    states = torch.tensor([PRESENT, ABSENT, UNKNOWN, ABSENT], dtype=torch.int8)
    return states.repeat(rows * columns)[: rows * columns].reshape(rows, columns)


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {_shape(value)} and type {str(value.dtype).removeprefix('torch.')}"
    return "None" if value is None else f"a {type(value).__name__}"


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
