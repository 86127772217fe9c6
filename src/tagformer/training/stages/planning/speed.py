"""How long each kind of work takes on this machine."""

from __future__ import annotations

import copy
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import ImageItems
from tagformer.features.remembered import RememberedFeatures
from tagformer.features.segment import Segment
from tagformer.images.transforms import training_transform
from tagformer.models.evidence import Evidence
from tagformer.recipes.recipe import Recipe
from tagformer.runs.run import default_device
from tagformer.training.auto_recipe import random_images, seconds_per_image
from tagformer.training.stages.cooccurrence import CooccurrenceTraining, fit_cooccurrence
from tagformer.training.stages.descent import DecoderTraining
from tagformer.training.stages.evidence import EvidenceTraining, fit_evidence
from tagformer.training.stages.folds import heads_seen
from tagformer.training.stages.heads import HeadSetting, HeadTraining, fit_heads
from tagformer.training.time_plan import LEAST_SHARE

TRIAL_STEPS = 20  # of the encoder, and of the co-occurrence
HEAD_STEPS = 6
LEAST_STEP = 2  # times as long as to compute the features, is a step of the whole network at least
LOOK_BATCH = 32  # images, as where features are remembered


@dataclass(frozen=True)
class Speed:
    """Seconds per image on this machine.

    Attributes:
        look: to read it and to compute its features, once.
        step: to read it and to train the whole network on it, once.
        evidence: to train the encoder on its evidence, once.
        cooccurrence: to train the co-occurrence on its evidence, once.
        head: to train the heads of all folds on its features, once, with the maximum over the positions, if the recipe
            has it.
        mean_head: the same with the mean alone.

    >>> Speed(look=0.02, step=0.1, evidence=0.0005, head=0.002, mean_head=0.0002).step
    0.1
    """

    look: float
    step: float
    evidence: float = 0.0
    cooccurrence: float = 0.0
    head: float = 0.0
    mean_head: float = 0.0


def measure_speed(
    model: Evidence, dataset: MultiLabelDataset, recipe: Recipe, seconds: float = math.inf, network_only: bool = False
) -> Speed:
    """Measure a batch of each kind of work.

    Args:
        model: of the run.
        dataset: the training images.
        recipe: with the image size and the batch size.
        seconds: the time for everything. Where it is too short to train the whole network, a step of that is not
            measured, and is infinite.
        network_only: heads and encoder are trained already; their speed is not measured, and is 0.

    >>> import tagformer
    >>> from tagformer.training.auto_recipe import plan_recipe
    >>> dataset = tagformer.load_dataset("scenes?images=8")
    >>> model = tagformer.create_model("evidence", dataset.label_space, "tiny")
    >>> measure_speed(model, dataset, plan_recipe(dataset, backbone="tiny")).step > 0
    True
    """
    image, batch = recipe.image, recipe.data.batch_size
    items = ImageItems(dataset, training_transform(image.size, image.resize, crop_scale=image.crop_scale), seed=0)
    device = default_device()
    model.backbone.to(device).eval()
    pictures = random_images(LOOK_BATCH, image.size, device)
    with torch.inference_mode():
        last_map = model.backbone(pictures)[-1].cpu()
        look = _shortest(lambda: model.backbone(pictures)[-1].sum().item()) / LOOK_BATCH
    count = min(batch, len(items))
    items[0]  # the first one also imports what reads it
    began = time.monotonic()
    for index in range(count):
        items[index]
    reading = (time.monotonic() - began) / count / (os.cpu_count() or 1)
    least = LEAST_SHARE * len(dataset) * LEAST_STEP * (look + reading)
    step = seconds_per_image(model, items, recipe) if least < seconds else math.inf
    if network_only:
        return Speed(look + reading, step)
    assert recipe.stages is not None
    count, folds, most = len(model.label_space), recipe.stages.folds, max(recipe.stages.weights)
    heads = [_head_seconds(last_map, count, folds, weight) for weight in (most, 0.0)]
    return Speed(look + reading, step, _evidence_seconds(model), _cooccurrence_seconds(model), *heads)


def _head_seconds(last_map: Tensor, labels: int, folds: int, weight: float) -> float:
    """Seconds to train the heads of all folds on the map of one image, with this weight of the maximum."""
    times: list[float] = []
    ids = [str(row) for row in range(HeadTraining().batch_size)]
    last_map = last_map[:1].expand(len(ids), *last_map.shape[1:])
    channels, height, width = last_map[0].shape
    segment = Segment(tuple(ids), (last_map.half().contiguous(),), 0)
    features = RememberedFeatures(["plain"], ids, [[segment]], [(channels, height, width)], {})
    fit_heads(
        features,
        torch.zeros(len(ids), labels, dtype=torch.int8),
        torch.arange(len(ids)) % folds,
        [HeadSetting(weight, decay=0.0)],
        HeadTraining(epochs=1, min_steps=HEAD_STEPS),
        heads_seen(folds),
        lambda step: times.append(time.monotonic()),
    )
    return min(end - start for start, end in pairwise(times)) / len(ids)


def _evidence_seconds(model: Evidence) -> float:
    """Seconds to train the encoder on the evidence of one image."""
    training = EvidenceTraining(min_steps=TRIAL_STEPS, max_steps=TRIAL_STEPS)
    trial = copy.deepcopy(model)
    return _decoder_seconds(lambda logits, labels, bar: fit_evidence(trial, logits, labels, training, bar), model)


def _cooccurrence_seconds(model: Evidence) -> float:
    """Seconds to train the co-occurrence on the evidence of one image; 0 for a model without it."""
    if not model.effects:
        return 0.0
    training = CooccurrenceTraining(steps=TRIAL_STEPS)
    trial = copy.deepcopy(model)
    return _decoder_seconds(
        lambda logits, labels, bar: fit_cooccurrence(trial, logits, labels, 1.0, training, bar), model
    )


def _decoder_seconds(fit: Callable[[Tensor, Tensor, Callable[[int], None]], None], model: Evidence) -> float:
    """Seconds per image of a training on logits and labels: the median of some steps, after some others."""
    times: list[float] = []
    batch = DecoderTraining().batch_size
    labels = torch.zeros(2 * batch, len(model.label_space), dtype=torch.int8)
    fit(labels.float().unsqueeze(0), labels, lambda step: times.append(time.monotonic()))
    seconds = [end - start for start, end in pairwise(times[TRIAL_STEPS // 2 - 1 :])]
    return statistics.median(seconds) / batch


def _shortest(work: Callable[[], float]) -> float:
    """The shortest time of three runs, in seconds."""
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        work()
        seconds.append(time.monotonic() - began)
    return min(seconds)
