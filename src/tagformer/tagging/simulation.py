"""A simulated annotator: how good the labels of an image get with each question that is answered."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import evaluation_loader, raise_on_bad_images
from tagformer.errors import TagformerError
from tagformer.images.transforms import evaluation_transform, normalise
from tagformer.labels.masking import draw_order
from tagformer.labels.space import PRESENT, UNKNOWN
from tagformer.metrics.ranking import average_precision
from tagformer.models.base import MultiLabelModel
from tagformer.recipes.settings import ImageSettings
from tagformer.tagging.questions import entropy_bits, expected_information_gain

ORDERS = {
    "random": "a random order, another for each image",
    "uncertain": "the most uncertain label first",
    "informative": "the largest expected information gain first",
}
CERTAIN = 1e4  # the logit of an answered label: above every other one


@dataclass(frozen=True)
class Curve:
    """What an order of questions leads to.

    Attributes:
        order: a name of `ORDERS`.
        mAP: after 0, 1, 2, ... answers to each image, over the target labels; those that were asked are right.
        correct: the share of images of which every target label is right, of those that are annotated in full.
    """

    order: str
    mAP: tuple[float, ...]  # noqa: N815
    correct: tuple[float, ...]


@dataclass(frozen=True)
class Simulation:
    """
    Attributes:
        curves: one for each order and seed.
        images: how many were asked about.
        questions: how many were asked of each.
    """

    curves: tuple[Curve, ...]
    images: int
    questions: int

    def mean(self, order: str) -> Curve:
        """The mean of an order's curves over the seeds."""
        own = [curve for curve in self.curves if curve.order == order]
        maps, correct = ([curve.mAP for curve in own], [curve.correct for curve in own])
        mean = lambda rows: tuple(map(statistics.fmean, zip(*rows, strict=True)))  # noqa: E731
        return Curve(order, mean(maps), mean(correct))

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON; null where there is no figure."""
        plain = lambda values: [None if math.isnan(value) else value for value in values]  # noqa: E731
        curves = [{"order": c.order, "mAP": plain(c.mAP), "correct": plain(c.correct)} for c in self.curves]
        return {"images": self.images, "questions": self.questions, "curves": curves}


@torch.inference_mode()
def simulate(
    model: MultiLabelModel,
    dataset: MultiLabelDataset,
    image: ImageSettings,
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
    progress: Callable[[int], None] | None = None,
) -> Simulation:
    """Ask about the target labels of each image one after the other; the answers are its annotations.

    A label that is not annotated is not asked about. Images with fewer labels than questions are done earlier.

    Args:
        dataset: its columns must be the model's labels (`MultiLabelDataset.align_to`).
        questions: how many answers each image gets.
        orders: names of `ORDERS`. Only ``random`` differs between the seeds.
        thresholds: (L,), from which probability a label counts as predicted; None: 0.5.
        temperature: the probabilities are sigmoid(logits / temperature).
        weights: (L,), what a bit about each label is worth to ``informative``, see `asking.label_weights`.
        progress: called with the number of images done, each counted once for every order and seed.

    Raises:
        TagformerError: a model that does not use known labels, an unknown order, or no image to ask about.
    """
    if not model.uses_known:
        raise TagformerError(
            f"the model '{type(model).__name__.lower()}' does not use known labels: train 'ctran', or use --feedback."
        )
    for order in orders:
        if order not in ORDERS:
            raise TagformerError(f"unknown order '{order}': use {', '.join(ORDERS)}.")
    device = next(model.parameters()).device
    model.eval()
    thresholds = torch.full((len(model.label_space),), 0.5) if thresholds is None else thresholds
    targets = model.label_space.is_target
    named = dict.fromkeys(orders)
    runs = [(order, seed) for order in named for seed in dict.fromkeys(seeds if order == "random" else seeds[:1])]
    logits: dict[tuple[str, int], list[Tensor]] = {run: [] for run in runs}
    labels: list[Tensor] = []
    done = 0
    transform = evaluation_transform(image.size, image.resize) if model.uses_image else None
    for batch in evaluation_loader(dataset, transform, batch_size, workers):
        raise_on_bad_images(batch.bad, on_bad_image)
        if not len(batch):
            continue
        features = model.encode(normalise(batch.images.to(device), *image.statistics(model.backbone)))
        truth = batch.labels.to(device)
        labels.append(batch.labels[:, targets])
        for order, seed in runs:
            ranks = _ranks(draw_order(batch.ids, model.label_space, seed), truth) if order == "random" else None
            steps = _asked(model, features, truth, order, ranks, questions, temperature, weights)
            logits[order, seed].append(torch.stack(steps)[:, :, targets])
            done += len(batch)
            if progress:
                progress(done)
    if not labels:
        raise TagformerError(f"{dataset.name}: not one of its images can be read.")
    truth = torch.cat(labels)
    bars = torch.logit(thresholds[targets].double()).float() * temperature
    bars = bars.clamp(1 - CERTAIN, CERTAIN)  # at a threshold of 0 or 1 too, answers are right
    curves = [_curve(order, torch.cat(logits[order, seed], 1), truth, bars) for order, seed in runs]
    return Simulation(tuple(curves), len(truth), questions)


def _asked(
    model: MultiLabelModel,
    features: Tensor,
    truth: Tensor,
    order: str,
    ranks: Tensor | None,
    questions: int,
    temperature: float,
    weights: Tensor | None,
) -> list[Tensor]:
    """The logits (B, L) after 0, 1, 2, ... answers; those of answered labels are certain."""
    known = torch.full_like(truth, UNKNOWN)
    askable = model.label_space.is_target.to(truth.device) & (truth != UNKNOWN)
    every = torch.arange(len(truth), device=truth.device)
    steps = []
    for number in range(questions + 1):
        logits = model.decode(features, known).logits.float()
        told = known != UNKNOWN
        steps.append(torch.where(told, (2 * known.float() - 1) * CERTAIN, logits).cpu())
        if number == questions:
            break
        if ranks is not None:
            score = -ranks.float()
        elif order == "uncertain":
            score = entropy_bits(torch.sigmoid(logits / temperature))
        else:
            score = expected_information_gain(model, features, known, askable, temperature=temperature, weights=weights)
        score = score.masked_fill(told | ~askable, -torch.inf)
        chosen = score.argmax(1)
        rows = every[torch.isfinite(score[every, chosen])]
        known[rows, chosen[rows]] = truth[rows, chosen[rows]]
    return steps


def _ranks(order: Tensor, truth: Tensor) -> Tensor:
    """(B, L): the place of each target label in its image's order (B, T)."""
    places = torch.arange(order.shape[1]).expand_as(order)
    return torch.zeros(truth.shape, dtype=torch.long).scatter_(1, order, places).to(truth.device)


def _curve(order: str, logits: Tensor, truth: Tensor, bars: Tensor) -> Curve:
    """From logits (questions + 1, N, T)."""
    whole = (truth != UNKNOWN).all(1)
    maps, correct = [], []
    for step in logits:
        maps.append(average_precision(step, truth).nanmean().item())
        right = ((step >= bars) == (truth == PRESENT)).all(1)
        correct.append(right[whole].float().mean().item() if whole.any() else float("nan"))
    return Curve(order, tuple(maps), tuple(correct))
