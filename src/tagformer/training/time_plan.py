"""How many epochs fit into a given time, for models that are trained at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from tagformer.data.loader.loader import TrainingLoader
from tagformer.models.base import MultiLabelModel
from tagformer.recipes.recipe import Recipe
from tagformer.training.auto_recipe import seconds_per_image
from tagformer.training.prepare import Prepared
from tagformer.training.progress import duration

MOST_EPOCHS = 40  # that are planned, unless the recipe has more
SPARE = 0.04  # share of the rest that is kept for what is not planned
VALIDATION = 1 / 3  # time of an image without a backward pass, as a share of that with one
AVERAGED = 20  # the moving average of the weights is at most over a twentieth of all steps


def plan_epochs(
    prepared: Prepared,
    model: MultiLabelModel,
    loader: TrainingLoader,
    deadline: float,
    message: Callable[[str], None],
) -> None:
    """Set the recipe's number of epochs to what fits until a time, by the measured time of a step; at least one.

    Args:
        prepared: with the recipe, which is changed.
        model: that will be trained.
        loader: of its training images or their remembered features.
        deadline: of the end, `time.monotonic`.
        message: gets the plan.
    """
    recipe = prepared.recipe
    per_image = seconds_per_image(model, loader.items, recipe.image.size, recipe.data.batch_size)
    epoch = per_image * (len(prepared.train) + VALIDATION * len(prepared.val))
    left = (1 - SPARE) * (deadline - time.monotonic())
    set_epochs(recipe, epochs_in(left, epoch, recipe.training.epochs), len(loader))
    epochs = recipe.training.epochs
    plan = f"{epochs} epoch{'s' if epochs > 1 else ''}, {duration(epochs * epoch)}"
    message(f"Plan: {plan} of the {duration(max(0.0, left))} that are left.")


def epochs_in(seconds: float, epoch: float, usual: int) -> int:
    """How many epochs fit into a time: at least one, and at most 40 or the recipe's usual number.

    >>> epochs_in(60, epoch=7, usual=10), epochs_in(3, epoch=7, usual=10), epochs_in(1e6, epoch=7, usual=10)
    (8, 1, 40)
    """
    most = max(usual, MOST_EPOCHS)
    return most if epoch <= 0 else max(1, min(most, math.floor(seconds / epoch)))


def set_epochs(recipe: Recipe, epochs: int, batches: int) -> None:
    """Set the number of epochs, and let the moving average of the weights, if any, not outlast a short training.

    Args:
        recipe: changed.
        epochs: the number.
        batches: of an epoch.

    >>> recipe = Recipe().overridden(["training.ema=0.999"])
    >>> set_epochs(recipe, 2, batches=100)
    >>> recipe.training.epochs, recipe.training.ema
    (2, 0.9)
    """
    training = recipe.training
    training.epochs = epochs
    if training.ema is not None:
        steps = epochs * math.ceil(batches / training.accumulate)
        training.ema = min(training.ema, max(0.5, 1 - AVERAGED / steps))
