"""How many epochs, of which share of the images, fit into a given time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

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
LEAST_SHARE = 0.25  # of the images, in the only epoch


@dataclass(frozen=True)
class Epochs:
    """A number of epochs, each over the same share of the training images.

    >>> str(Epochs(3)), str(Epochs(1, 0.75))
    ('3 epochs', '1 epoch of 75 % of the images')
    """

    count: int
    share: float = 1.0

    @classmethod
    def within(cls, seconds: float, training: float, scoring: float, most: int) -> Epochs:
        """As many epochs as are begun in a time, with the share of the images by which they end in time.

        Args:
            seconds: the time.
            training: seconds to train on all images once.
            scoring: seconds to score the validation images, after every epoch.
            most: the largest number of epochs.

        Returns:
            At least one epoch, of at least a quarter of the images, even if it does not fit.

        >>> Epochs.within(250, training=90, scoring=10, most=12)  # 2.5 epochs of 100 seconds
        Epochs(count=3, share=0.814...)
        >>> Epochs.within(1e6, training=90, scoring=10, most=12)
        Epochs(count=12, share=1.0)
        """
        if training <= 0:
            return cls(most)
        count = max(1, min(most, math.ceil(seconds / (training + scoring))))
        return cls(count, max(LEAST_SHARE, min(1.0, (seconds / count - scoring) / training)))

    def seconds(self, training: float, scoring: float) -> float:
        """The time that they take; the arguments are those of `within`."""
        return self.count * (self.share * training + scoring)

    def __str__(self) -> str:
        some = "" if self.share == 1 else f" of {100 * self.share:.0f} % of the images"
        return f"{self.count} epoch{'s' if self.count > 1 else ''}{some}"


def plan_epochs(
    prepared: Prepared,
    model: MultiLabelModel,
    loader: TrainingLoader,
    deadline: float,
    message: Callable[[str], None],
) -> Epochs:
    """Set the recipe's epochs to what fits until a time, by the measured time of a step.

    Args:
        prepared: with the recipe, which is changed.
        model: that will be trained.
        loader: of its training images or their remembered features.
        deadline: of the end, `time.monotonic`.
        message: gets the plan.
    """
    recipe = prepared.recipe
    per_image = seconds_per_image(model, loader.items, recipe)
    training, scoring = per_image * len(prepared.train), per_image * VALIDATION * len(prepared.val)
    left = (1 - SPARE) * (deadline - time.monotonic())
    epochs = Epochs.within(left, training, scoring, max(recipe.training.epochs, MOST_EPOCHS))
    set_epochs(recipe, epochs, len(loader))
    planned, time_left = duration(epochs.seconds(training, scoring)), duration(max(0.0, left))
    message(f"Plan: {epochs}, {planned} of the {time_left} that are left.")
    return epochs


def set_epochs(recipe: Recipe, epochs: Epochs, batches: int) -> None:
    """Set the epochs, and let the moving average of the weights, if any, not outlast a short training.

    Args:
        recipe: changed.
        epochs: the epochs.
        batches: of an epoch over all images.

    >>> recipe = Recipe().overridden(["training.ema=0.999"])
    >>> set_epochs(recipe, Epochs(4, 0.5), batches=100)
    >>> recipe.training.epochs, recipe.training.epoch_share, recipe.training.ema
    (4, 0.5, 0.9)
    """
    training = recipe.training
    training.epochs, training.epoch_share = epochs.count, round(epochs.share, 3)
    if training.ema is not None:
        steps = epochs.count * math.ceil(epochs.share * batches / training.accumulate)
        training.ema = min(training.ema, max(0.5, 1 - AVERAGED / steps))
