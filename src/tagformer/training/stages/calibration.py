"""Thresholds and a temperature from out-of-fold predictions, so that no images need to be set aside for them."""

from __future__ import annotations

import torch
from torch import Tensor

from tagformer.labels.space import PRESENT
from tagformer.metrics.calibration import fit_temperature
from tagformer.metrics.thresholds import tune_thresholds

FEW = 10  # positives below which a label gets the common threshold


def choose_thresholds(logits: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """A threshold for each label and a temperature.

    A label with fewer than 10 positives gets the threshold that is best for all labels together: the best one of a few
    positives is a matter of chance.

    Args:
        logits: of images that the model was not trained on, (N, L).
        labels: int8 (N, L).

    Returns:
        Thresholds of the calibrated probabilities, float32 (L,), for the highest F1, and the temperature.

    >>> logits = torch.tensor([[2.0], [1.0], [-1.0], [-2.0]])
    >>> thresholds, temperature = choose_thresholds(logits, torch.tensor([[1], [0], [1], [0]], dtype=torch.int8))
    >>> thresholds.shape, temperature > 0
    (torch.Size([1]), True)
    """
    temperature = fit_temperature(logits, labels)
    probabilities = torch.sigmoid(logits / temperature)
    common = tune_thresholds(probabilities.reshape(-1, 1), labels.reshape(-1, 1)).values
    own = tune_thresholds(probabilities, labels).values
    return torch.where((labels == PRESENT).sum(0) >= FEW, own, common), temperature
