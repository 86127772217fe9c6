"""A simulated annotator: how good the labels of an image become with each question that is answered."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import Batch
from tagformer.errors import TagformerError
from tagformer.features.batches import MapBatch
from tagformer.features.encoding import encoded_batches
from tagformer.features.store import FeatureStore
from tagformer.images.preprocessing import Preprocessing
from tagformer.labels.masking import draw_order
from tagformer.labels.space import PRESENT, UNKNOWN
from tagformer.metrics.ranking import average_precision
from tagformer.models.base import MultiLabelModel
from tagformer.tagging.questions import entropy_bits, expected_information_gain

ORDERS = {
    "random": "a random order, another for each image",
    "uncertain": "the most uncertain label first",
    "informative": "the largest expected information gain first",
}
CERTAIN = 1e4  # the logit of an answered label: above every other one


@dataclass(frozen=True)
class Curve:
    """The figures after each question, for one order of questions.

    Attributes:
        order: a name of `ORDERS`.
        mAP: after 0, 1, 2, ... answers per image, over the target labels; those with an answer are right.
        correct: the share of images of which every target label is right, among those that are annotated in full.
    """

    order: str
    mAP: tuple[float, ...]  # noqa: N815
    correct: tuple[float, ...]


@dataclass(frozen=True)
class Simulation:
    """The curves of a simulated annotator.

    Attributes:
        curves: one for each order and seed.
        images: how many images were annotated.
        questions: how many questions were asked about each.
    """

    curves: tuple[Curve, ...]
    images: int
    questions: int

    def mean(self, order: str) -> Curve:
        """The mean of an order's curves over the seeds."""
        curves = [curve for curve in self.curves if curve.order == order]
        return Curve(order, _column_means([c.mAP for c in curves]), _column_means([c.correct for c in curves]))

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON; null where a figure is not defined."""
        curves = [
            {"order": curve.order, "mAP": _with_null(curve.mAP), "correct": _with_null(curve.correct)}
            for curve in self.curves
        ]
        return {"images": self.images, "questions": self.questions, "curves": curves}


def _column_means(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(statistics.fmean(column) for column in zip(*rows, strict=True))


def _with_null(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


@torch.inference_mode()
def simulate(
    model: MultiLabelModel,
    dataset: MultiLabelDataset,
    preprocessing: Preprocessing,
    *,
    questions: int,
    orders: Sequence[str] = tuple(ORDERS),
    seeds: Sequence[int] = (0,),
    thresholds: Tensor | None = None,
    temperature: float = 1.0,
    weights: Tensor | None = None,
    batch_size: int = 32,
    workers: int = 2,
    on_bad_image: str = "error",
    store: FeatureStore | None = None,
    progress: Callable[[int], None] | None = None,
) -> Simulation:
    """Ask about the target labels of each image one after the other; the answers are its annotations.

    A label that is not annotated is not asked about. Images with fewer labels than questions are finished earlier.

    Args:
        model: on the device to use.
        dataset: its columns must be the model's labels (`MultiLabelDataset.align_to`).
        preprocessing: how an image becomes the model's input.
        questions: how many answers each image gets.
        orders: names of `ORDERS`.
        seeds: one curve of the order ``random`` for each; the other orders do not depend on them.
        thresholds: (L,), the probability from which a label is predicted; None: 0.5.
        temperature: the probabilities are sigmoid(logits / temperature).
        weights: (L,), the weight of a bit about each label in ``informative``, see `questions.label_weights`.
        batch_size: images per batch.
        workers: loader processes.
        on_bad_image: ``error`` or ``skip``.
        store: where the maps of the backbone are remembered; None: each image is read and encoded.
        progress: called with the number of images done, each counted once for every order and seed.

    Raises:
        TagformerError: a model that does not use known labels, an unknown order, or no image to ask about.

    >>> import tagformer
    >>> from tagformer.images import Preprocessing
    >>> from tagformer.tagging import simulate
    >>> dataset = tagformer.load_dataset("scenes?images=24", split="test")
    >>> model = tagformer.create_model("ctran", dataset.label_space, "tiny", width=16)
    >>> simulation = simulate(model, dataset, Preprocessing(size=32), questions=2, orders=["random"], workers=0)
    >>> len(simulation.mean("random").mAP)
    3
    """
    _check_arguments(model, orders)
    model.eval()
    targets = model.label_space.is_target
    runs = [
        (order, seed)
        for order in dict.fromkeys(orders)
        for seed in dict.fromkeys(seeds if order == "random" else seeds[:1])
    ]
    logits: dict[tuple[str, int], list[Tensor]] = {run: [] for run in runs}
    labels: list[Tensor] = []
    annotator = _Annotator(model, questions, temperature, weights)
    loading: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "on_bad_image": on_bad_image}
    done = 0
    for batch, features in encoded_batches(model, dataset, preprocessing, store, **loading):
        if features is None:
            continue
        labels.append(batch.labels[:, targets])
        for order, seed in runs:
            logits[order, seed].append(annotator.answer(features, batch, order, seed)[:, :, targets])
            done += len(batch)
            if progress:
                progress(done)
    if not labels:
        raise TagformerError(f"{dataset.name}: not one of its images can be read.")
    truth = torch.cat(labels)
    thresholds = torch.full((len(model.label_space),), 0.5) if thresholds is None else thresholds
    threshold_logits = torch.logit(thresholds[targets].double()).float() * temperature
    threshold_logits = threshold_logits.clamp(1 - CERTAIN, CERTAIN)  # answers are right at thresholds 0 and 1 too
    curves = [_curve(run[0], torch.cat(logits[run], 1), truth, threshold_logits) for run in runs]
    return Simulation(tuple(curves), len(truth), questions)


def _check_arguments(model: MultiLabelModel, orders: Sequence[str]) -> None:
    if not model.uses_known:
        raise TagformerError(
            f"the model '{type(model).__name__.lower()}' does not use known labels: train 'ctran', or use --feedback."
        )
    for order in orders:
        if order not in ORDERS:
            raise TagformerError(f"unknown order '{order}': use {', '.join(ORDERS)}.")


@dataclass(frozen=True)
class _Annotator:
    """Answers questions about the images of a batch; for the attributes see `simulate`."""

    model: MultiLabelModel
    questions: int
    temperature: float
    weights: Tensor | None

    def answer(self, features: Tensor, batch: Batch | MapBatch, order: str, seed: int) -> Tensor:
        """The logits (questions + 1, B, L) after 0, 1, 2, ... answers; those of answered labels are certain."""
        truth = batch.labels.to(features.device)
        known = torch.full_like(truth, UNKNOWN)
        askable = self.model.label_space.is_target.to(truth.device) & (truth != UNKNOWN)
        ranks = _ranks(draw_order(batch.ids, self.model.label_space, seed), truth) if order == "random" else None
        images = torch.arange(len(truth), device=truth.device)
        steps = []
        for number in range(self.questions + 1):
            logits = self.model.decode(features, known).logits.float()
            answered = known != UNKNOWN
            steps.append(torch.where(answered, (2 * known.float() - 1) * CERTAIN, logits).cpu())
            if number == self.questions:
                break
            if ranks is not None:
                score = -ranks.float()
            elif order == "uncertain":
                score = entropy_bits(torch.sigmoid(logits / self.temperature))
            else:
                score = expected_information_gain(
                    self.model, features, known, askable, temperature=self.temperature, weights=self.weights
                )
            score = score.masked_fill(answered | ~askable, -torch.inf)
            selected = score.argmax(1)
            rows = images[torch.isfinite(score[images, selected])]
            known[rows, selected[rows]] = truth[rows, selected[rows]]
        return torch.stack(steps)


def _ranks(order: Tensor, truth: Tensor) -> Tensor:
    """(B, L): the position of each target label in its image's order (B, T)."""
    positions = torch.arange(order.shape[1]).expand_as(order)
    return torch.zeros(truth.shape, dtype=torch.long).scatter_(1, order, positions).to(truth.device)


def _curve(order: str, logits: Tensor, truth: Tensor, threshold_logits: Tensor) -> Curve:
    """The figures of logits (questions + 1, N, T) against the annotations (N, T)."""
    fully_annotated = (truth != UNKNOWN).all(1)
    maps, correct = [], []
    for step in logits:
        maps.append(average_precision(step, truth).nanmean().item())
        right = ((step >= threshold_logits) == (truth == PRESENT)).all(1)
        correct.append(right[fully_annotated].float().mean().item() if fully_annotated.any() else float("nan"))
    return Curve(order, tuple(maps), tuple(correct))
