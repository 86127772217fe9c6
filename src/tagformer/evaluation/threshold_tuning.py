"""Thresholds and temperature of a run, from data that it was not trained on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from tagformer.evaluation.evaluate import Evaluation
from tagformer.metrics.calibration import fit_temperature, reliability
from tagformer.metrics.precision_recall import PrecisionRecall, precision_recall
from tagformer.metrics.thresholds import Thresholds, tune_thresholds


@dataclass(frozen=True)
class Quality:
    """How good the decisions and the probabilities are."""

    decisions: PrecisionRecall
    calibration_error: float


@dataclass(frozen=True)
class Tuned:
    """
    Attributes:
        thresholds: of the calibrated probabilities, for the T target labels, from all images.
        temperature: from all images.
        before: at 0.5 and temperature 1.
        after: each half of the images at the thresholds and the temperature chosen on the other half, so that the
            figures are what new images can expect.
    """

    thresholds: Thresholds
    temperature: float
    before: Quality
    after: Quality


def tune(evaluation: Evaluation, beta: float = 1.0, precision_floor: float | None = None) -> Tuned:
    """Choose a temperature, then a threshold for each label, on what a model said of held-out images.

    Args:
        evaluation: of images that the model was not trained on, best the validation split.
        beta, precision_floor: of `metrics.tune_thresholds`.
    """
    logits, labels = evaluation.logits, evaluation.labels
    first = torch.tensor([_is_in_first_half(image_id) for image_id in evaluation.ids])
    predicted = torch.zeros_like(labels, dtype=torch.bool)
    probabilities = torch.zeros_like(logits)
    for own, other in ((first, ~first), (~first, first)):
        temperature, thresholds = _chosen(logits[other], labels[other], beta, precision_floor)
        probabilities[own] = torch.sigmoid(logits[own] / temperature)
        predicted[own] = probabilities[own] >= thresholds.values
    temperature, thresholds = _chosen(logits, labels, beta, precision_floor)
    plain = torch.sigmoid(logits)
    return Tuned(
        thresholds,
        temperature,
        before=Quality(precision_recall(plain >= 0.5, labels), reliability(plain, labels).expected_calibration_error),
        after=Quality(
            precision_recall(predicted, labels), reliability(probabilities, labels).expected_calibration_error
        ),
    )


def _chosen(logits: Tensor, labels: Tensor, beta: float, precision_floor: float | None) -> tuple[float, Thresholds]:
    temperature = fit_temperature(logits, labels)
    return temperature, tune_thresholds(torch.sigmoid(logits / temperature), labels, beta, precision_floor)


def _is_in_first_half(image_id: str) -> bool:
    return hashlib.blake2b(f"half/{image_id}".encode(), digest_size=1).digest()[0] % 2 == 0
