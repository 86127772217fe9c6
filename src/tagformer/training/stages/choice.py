"""The choice of the heads' setting: how the candidates are tried, and what that costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from tagformer.recipes.settings import StageSettings
from tagformer.training.stages.folds import heads_seen
from tagformer.training.stages.heads import HeadSetting, HeadTraining

MOST_LABELS, ENOUGH_IMAGES = 64, 600  # by which settings are compared
LEAST_STEPS = 150


def candidates(settings: StageSettings) -> list[HeadSetting]:
    """All combinations of a weight of the maximum and a weight decay; the first one is the simplest.

    >>> candidates(StageSettings(weights=(0.0, 0.5), decays=(5.0,)))
    [HeadSetting(weight=0.0, decay=5.0), HeadSetting(weight=0.5, decay=5.0)]
    """
    return [HeadSetting(weight, decay) for weight in settings.weights for decay in settings.decays]


@dataclass(frozen=True)
class Trial:
    """How candidates are tried: for half of the epochs, with some of the heads, and on some of the labels.

    Attributes:
        training: half of the chosen one's epochs.
        heads: of each candidate: so many that some hundred images have not been seen by one of them.
        labels: at most so many.

    >>> settings = StageSettings()  # nine candidates, eight folds
    >>> trial = Trial.of(settings, images=2_000)
    >>> trial.heads, trial.training.epochs
    (2, 4)
    >>> round(trial.cost(settings, images=2_000, labels=128), 2)  # nine, half of the steps, a fifth of the heads, ...
    0.45
    """

    training: HeadTraining
    heads: int
    labels: int = MOST_LABELS

    @classmethod
    def of(cls, settings: StageSettings, images: int, seed: int = 0) -> Trial:
        """The trial for a number of training images."""
        epochs = max(1, settings.head_epochs // 2)
        training = HeadTraining(epochs, lr=settings.head_lr, min_steps=LEAST_STEPS, seed=seed)
        return cls(training, min(settings.folds, math.ceil(ENOUGH_IMAGES * settings.folds / (2 * images))))

    def cost(self, settings: StageSettings, images: int, labels: int) -> float:
        """The time of the trial, as a multiple of the time in which the chosen candidate is trained then."""
        count = len(candidates(settings))
        if count == 1:
            return 0.0
        steps = self.training.steps(images) / HeadTraining(settings.head_epochs).steps(images)
        heads = self.heads / len(heads_seen(settings.folds))
        return count * steps * heads * min(1.0, self.labels / labels)


def choose(precisions: Tensor, weights: Tensor) -> int:
    """The number of the best candidate, if it is better than the first one by more than one standard error; else 0.

    The error is that of the weighted mean over the labels of the difference. On a few images the best of many
    candidates is mostly chosen by chance; the first one, a linear classifier that stops early, is never far from the
    best there.

    Args:
        precisions: average precision (S, L) of S candidates; NaN for labels without a positive.
        weights: of the labels, (L,).

    >>> import torch
    >>> choose(torch.tensor([[0.5, 0.5, 0.5], [0.6, 0.7, 0.6]]), torch.ones(3))
    1
    >>> choose(torch.tensor([[0.5, 0.5, 0.5], [0.4, 0.7, 0.5]]), torch.ones(3))
    0
    """
    counted = (weights > 0) & ~precisions.isnan().any(0)
    if counted.sum() < 2:
        return 0
    precisions, weights = precisions[:, counted], weights[counted] / weights[counted].sum()
    means = precisions @ weights.to(precisions)
    best = int(means.argmax())
    difference = precisions[best] - precisions[0]
    gain = means[best] - means[0]
    count = len(weights)
    error = math.sqrt(((weights * (difference - gain)) ** 2).sum() * count / (count - 1))
    return best if gain > error else 0
