"""Choosing a run's thresholds and temperature on data that it was not trained on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from tagformer.evaluation.evaluate import Evaluation
from tagformer.metrics.calibration import fit_temperature, reliability
from tagformer.metrics.precision_recall_f1 import PrecisionRecall, precision_recall
from tagformer.metrics.thresholds import Thresholds, tune_thresholds


@dataclass(frozen=True)
class Quality:
    """How good the decisions (precision and recall) and the probabilities (calibration) are."""

    decisions: PrecisionRecall
    calibration_error: float


@dataclass(frozen=True)
class Tuned:
    """Thresholds and temperature chosen by `tune`, with their quality.

    Attributes:
        thresholds: of the calibrated probabilities, for the T target labels, chosen on all images.
        temperature: chosen on all images.
        before: the quality at threshold 0.5 and temperature 1.
        after: the quality of each half of the images at the thresholds and the temperature chosen on the other half,
            which is what to expect on new images.

    >>> from tagformer.evaluation import evaluate_run, load_split, tune
    >>> from tagformer.runs import Run
    >>> run = Run.load("runs/mine")
    >>> tuned = tune(evaluate_run(run, load_split(run)))
    >>> tuned.thresholds.values.shape, tuned.temperature > 0
    (torch.Size([12]), True)
    """

    thresholds: Thresholds
    temperature: float
    before: Quality
    after: Quality


def tune(evaluation: Evaluation, beta: float = 1.0, precision_floor: float | None = None) -> Tuned:
    """Choose a temperature, then a threshold for each label, on a model's logits of held-out images.

    Args:
        evaluation: of images that the model was not trained on, preferably the validation split.
        beta, precision_floor: of `metrics.tune_thresholds`.

    >>> import tagformer
    >>> from tagformer.evaluation import EvaluationOptions, tune
    >>> from tagformer.images import Preprocessing
    >>> dataset = tagformer.load_dataset("scenes?images=48", split="test")
    >>> model = tagformer.create_model("linear", dataset.label_space, "tiny")
    >>> evaluation = tagformer.evaluate_model(model, dataset, Preprocessing(size=32), EvaluationOptions(workers=0))
    >>> tune(evaluation).thresholds.values.shape
    torch.Size([12])
    """
    logits, labels = evaluation.logits, evaluation.labels
    first = torch.tensor([_is_in_first_half(image_id) for image_id in evaluation.ids])
    predicted = torch.zeros_like(labels, dtype=torch.bool)
    probabilities = torch.zeros_like(logits)
    for scored, chosen_on in ((first, ~first), (~first, first)):
        temperature, thresholds = _choose(logits[chosen_on], labels[chosen_on], beta, precision_floor)
        probabilities[scored] = torch.sigmoid(logits[scored] / temperature)
        predicted[scored] = probabilities[scored] >= thresholds.values
    temperature, thresholds = _choose(logits, labels, beta, precision_floor)
    uncalibrated = torch.sigmoid(logits)
    return Tuned(
        thresholds,
        temperature,
        before=_quality(uncalibrated >= 0.5, uncalibrated, labels),
        after=_quality(predicted, probabilities, labels),
    )


def _quality(predicted: Tensor, probabilities: Tensor, labels: Tensor) -> Quality:
    error = reliability(probabilities, labels).expected_calibration_error
    return Quality(precision_recall(predicted, labels), error)


def _choose(logits: Tensor, labels: Tensor, beta: float, precision_floor: float | None) -> tuple[float, Thresholds]:
    temperature = fit_temperature(logits, labels)
    return temperature, tune_thresholds(torch.sigmoid(logits / temperature), labels, beta, precision_floor)


def _is_in_first_half(image_id: str) -> bool:
    return hashlib.blake2b(f"half/{image_id}".encode(), digest_size=1).digest()[0] % 2 == 0
