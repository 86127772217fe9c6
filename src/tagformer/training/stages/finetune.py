"""The last stage: the whole network is trained on from a head, as an ordinary run of the model ``csra``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tagformer.recipes.recipe import Recipe
from tagformer.runs.run import CHECKPOINTS, LAST, RECIPE, Run, write_labels, write_weights
from tagformer.training.build import build
from tagformer.training.checkpoints import check_checkpoint
from tagformer.training.prepare import Prepared, Reporter
from tagformer.training.stages.files import STAGES
from tagformer.training.train import train as fit

CHANGE = 0.75  # share of the change by the training that is kept
HEADS = "classifier_"  # of the names of the heads' weights


def finetuning_recipe(recipe: Recipe, options: dict[str, Any], head: Path) -> Recipe:
    """The recipe of the last stage of a recipe in stages.

    Args:
        recipe: with the settings of optimizer, schedule, training and image.
        options: of the model ``csra``.
        head: the run folder with the head that it starts from.
    """
    values = recipe.model_dump(mode="json")
    values["stages"] = None
    values["data"]["val_fraction"] = 0.1  # any but 0: the held-out images are given
    values["training"]["keep"] = "best"
    values["model"] = {
        **values["model"],
        "name": "csra",
        "options": options,
        "init": str(head),
        "init_heads": True,
        "start_from_frequencies": False,
    }
    return Recipe.checked(values, "the last stage")


def finetune(
    prepared: Prepared, held_out: Tensor, state: dict[str, Tensor], options: dict[str, Any], reporter: Reporter
) -> dict[str, Tensor]:
    """Train the whole network on from a head, on all images but the held-out ones, and return weights on the way there.

    The best epoch is that with the highest mAP of the held-out images; the head must not have seen them. The weights
    are three quarters of the way to those of this epoch (Wortsman et al., CVPR 2022), which are better on new images.

    Args:
        prepared: of the run in stages.
        held_out: rows of the training images, int64.
        state: of a model ``csra`` with the head, from which a new training starts.
        options: of that model.
        reporter: where to report progress.
    """
    train, folder = prepared.train, prepared.folder / STAGES
    recipe = finetuning_recipe(prepared.recipe, options, folder / "head")
    is_held_out = torch.zeros(len(train), dtype=torch.bool)
    is_held_out[held_out] = True
    inside, outside = (train.subset(part.nonzero().flatten().tolist()) for part in (~is_held_out, is_held_out))
    own = folder / "finetune"
    fresh = not (own / CHECKPOINTS / LAST).is_file()
    if fresh:
        _write_run(folder / "head", recipe, prepared, state)
    else:
        check_checkpoint(own / CHECKPOINTS / LAST)
    inner = Prepared(recipe, own, inside, outside, resume=not fresh, fresh=fresh)
    fit(inner, build(inner, reporter, cache_gb=0), reporter)
    return on_the_way(Run.load(folder / "head").state(), Run.load(own).state())


def _write_run(folder: Path, recipe: Recipe, prepared: Prepared, state: dict[str, Tensor]) -> None:
    """Write a run folder with these weights."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe.save(folder / RECIPE)
    write_labels(folder, prepared.train.label_space, frequencies=prepared.train.frequencies)
    write_weights(folder, state)


def on_the_way(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float = CHANGE) -> dict[str, Tensor]:
    """Weights on the straight way from some to others; what is no floating-point number is that of the end.

    >>> on_the_way({"weight": torch.tensor([1.0, 3.0])}, {"weight": torch.tensor([2.0, -1.0])}, share=0.75)
    {'weight': tensor([1.7500, 0.0000])}
    """
    return {
        name: torch.lerp(start[name].to(value), value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }


def moved_alike(
    every: Mapping[str, Tensor], start: Mapping[str, Tensor], end: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A trained network with all heads: each is changed as those were on average with which the network was trained.

    The network is trained with the heads that have not seen the held-out images, so that it can be scored on them. All
    heads together have seen all images, and are better (docs/stages.md).

    Args:
        every: the network's weights before its training, with all heads.
        start: the same with those heads with which it was trained.
        end: after the training.

    >>> every, start, end = ({"classifier_weight": torch.tensor(w)} for w in ([[1.0], [2.0], [9.0]], [[2.0]], [[2.5]]))
    >>> moved_alike(every, start, end)["classifier_weight"].flatten()
    tensor([1.5000, 2.5000, 9.5000])
    """
    moved = dict(end)
    for name in (name for name in every if name.startswith(HEADS)):
        change = end[name] - start[name]
        moved[name] = every[name] + (change.mean(0) if name == "classifier_weight" else change)
    return moved
