"""Starting a training from another run: all weights but those of the heads."""

from __future__ import annotations

from pathlib import Path

from tagformer.backbones.mltr.weights import resized
from tagformer.errors import TagformerError
from tagformer.models.base import MultiLabelModel
from tagformer.runs.migration import with_current_names
from tagformer.runs.run import Run


def start_from_run(model: MultiLabelModel, folder: Path, heads: bool = False) -> int:
    """Load another run's weights: the whole backbone, and of the rest each weight with the same name and shape.

    The weights that belong to the labels (the model's `head_prefixes`) are not loaded, because the other run may have
    other labels. An MlTr may have been trained on images of another size.

    Args:
        model: changed in place.
        folder: the other run.
        heads: load the weights that belong to the labels too.

    Returns:
        How many weights were loaded.

    Raises:
        TagformerError: not a run with weights, one with another backbone, or, with `heads`, one with other labels or
            with heads of another shape.

    >>> from tagformer.labels import LabelSpace
    >>> from tagformer.runs import Run, start_from_run
    >>> from tagformer.runs.run import model_from_recipe
    >>> model = model_from_recipe(Run.load("runs/mine").recipe, LabelSpace(("cat", "dog")), load_weights=False)
    >>> start_from_run(model, Path("runs/mine")) > 10_000
    True
    """
    run = Run.load(folder)
    current = model.state_dict()
    if heads and run.label_space != model.label_space:
        raise TagformerError(f"{folder} has other labels: start from it without its heads (model.init_heads=false).")
    prefixes = (model.head_prefixes,) if isinstance(model.head_prefixes, str) else tuple(model.head_prefixes)
    state = with_current_names(run.state(), run.recipe.model.name, current)
    loaded = {
        name: resized(weight, current[name], name)
        for name, weight in state.items()
        if name in current and (heads or not name.startswith(prefixes))
    }
    misshapen = {name for name, weight in loaded.items() if weight.shape != current[name].shape}
    if heads and any(name.startswith(prefixes) for name in misshapen):
        raise TagformerError(
            f"{folder} has heads of another shape: take the options of its model, or start from it without its heads "
            "(model.init_heads=false)."
        )
    loaded = {name: weight for name, weight in loaded.items() if name not in misshapen}
    if any(name.startswith("backbone.") and name not in loaded for name in current):
        raise TagformerError(
            f"{folder} has another backbone, {run.recipe.model.backbone.name}: take the same one (--backbone), "
            "with the same options."
        )
    model.load_state_dict(loaded, strict=False)
    return sum(weight.numel() for weight in loaded.values())
