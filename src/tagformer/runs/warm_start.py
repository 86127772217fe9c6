"""Starting a training from another run: everything but the heads."""

from __future__ import annotations

from pathlib import Path

from tagformer.backbones.mltr.weights import resized
from tagformer.errors import TagformerError
from tagformer.models.base import MultiLabelModel
from tagformer.runs.run import Run


def start_from_run(model: MultiLabelModel, folder: Path) -> int:
    """Load the weights of another run: all of its backbone's, and of the rest what has the same name and shape.

    What belongs to the labels (the model's `head_prefixes`) stays as it is, for the other run may know other labels. An
    MlTr may have been trained on images of another size.

    Returns:
        How many weights were loaded.

    Raises:
        TagformerError: not a run with weights, or one with another backbone.
    """
    run = Run.load(folder)
    state, own = run.state(), model.state_dict()
    moved = {
        name: resized(weight, own[name], name)
        for name, weight in state.items()
        if name in own and not name.startswith(model.head_prefixes)
    }
    moved = {name: weight for name, weight in moved.items() if weight.shape == own[name].shape}
    if any(name.startswith("backbone.") and name not in moved for name in own):
        raise TagformerError(
            f"{folder} has another backbone, {run.recipe.model.backbone.name}: take the same one (--backbone), "
            "with the same options."
        )
    model.load_state_dict(moved, strict=False)
    return sum(weight.numel() for weight in moved.values())
