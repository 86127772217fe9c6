"""How much of each stage fits into a given time on this machine."""

from __future__ import annotations

import copy
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
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
from tagformer.recipes.settings import StageSettings
from tagformer.runs.run import default_device
from tagformer.training.auto_recipe import random_images, seconds_per_image
from tagformer.training.progress import duration
from tagformer.training.stages.choice import Trial
from tagformer.training.stages.evidence import EvidenceTraining, fit_evidence
from tagformer.training.stages.folds import heads_seen
from tagformer.training.stages.heads import HeadSetting, HeadTraining, fit_heads
from tagformer.training.time_plan import LEAST_SHARE, SPARE, Epochs

FEATURES_SHARE = 0.4  # of the time at most, as long as there is more than one view
EVIDENCE_SHARE = 0.3  # of the time at most
LEAST_EVIDENCE_EPOCHS = 4
MOST_EVIDENCE_SHARE = 0.45  # of the time; where fewer epochs do not help, co-occurrence takes the encoder's place
HEADS_SHARE = 0.2  # of the time at most, as long as there is more than one candidate
TRIAL_STEPS = 20  # of the encoder
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
        head: to train the heads of all folds on its features, once, with the maximum over the positions, if the recipe
            has it.
        mean_head: the same with the mean alone.

    >>> Speed(look=0.02, step=0.1, evidence=0.0005, head=0.002, mean_head=0.0002).step
    0.1
    """

    look: float
    step: float
    evidence: float = 0.0
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
    return Speed(look + reading, step, _evidence_seconds(model), *heads)


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
    """Seconds to train the encoder on the evidence of one image: the median of some steps, after some others."""
    trial, count = copy.deepcopy(model), len(model.label_space)
    options = EvidenceTraining(min_steps=TRIAL_STEPS, max_steps=TRIAL_STEPS)
    times: list[float] = []
    labels = torch.zeros(2 * options.batch_size, count, dtype=torch.int8)
    fit_evidence(trial, labels.float().unsqueeze(0), labels, options, lambda step: times.append(time.monotonic()))
    seconds = [end - start for start, end in pairwise(times[TRIAL_STEPS // 2 - 1 :])]
    return statistics.median(seconds) / options.batch_size


def _shortest(work: Callable[[], float]) -> float:
    """The shortest time of three runs, in seconds."""
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        work()
        seconds.append(time.monotonic() - began)
    return min(seconds)


@dataclass(frozen=True)
class Plan:
    """How the time is to be used.

    Attributes:
        minutes: the time for everything.
        views: of each image.
        features: seconds for the features that are not remembered.
        weights, decays: the heads' candidates.
        heads: seconds for the heads and the choice of their settings.
        evidence_epochs: of the encoder.
        evidence: seconds for them.
        encoder: whether the encoder has its layers; without them labels depend on each other by co-occurrence alone,
            which takes next to no time.
        training, scoring: seconds to train the whole network on all images once, and to score it.
        most_epochs: of the network, if there is time; 0: it is not to be trained.

    >>> stages = {"views": 2, "features": 40, "weights": (0.0, 1.0), "decays": (0.05,), "heads": 15}
    >>> plan = Plan(10, **stages, evidence_epochs=20, evidence=20, training=80, scoring=4, most_epochs=12)
    >>> print(plan)
    Plan for 10 minutes: features of 2 views, 40 seconds; heads, 15 seconds; evidence 20 epochs, 20 seconds;
    whole network 6 epochs of 99 % of the images, 8 minutes.
    >>> str(plan.network(seconds=200)), plan.network(seconds=10)
    ('3 epochs of 78 % of the images', None)
    """

    minutes: float
    views: int
    features: float
    weights: tuple[float, ...]
    decays: tuple[float, ...]
    heads: float
    evidence_epochs: int
    evidence: float
    training: float
    scoring: float
    most_epochs: int
    encoder: bool = True

    @classmethod
    def of(
        cls, minutes: float, speed: Speed, images: int, labels: int, recipe: Recipe, missing: Sequence[int] = ()
    ) -> Plan:
        """The plan for a number of training images and labels.

        Args:
            minutes: the time for everything but the scoring of the test split.
            speed: of this machine.
            images, labels: how many.
            recipe: with ``stages``; its numbers of epochs are the most that is planned.
            missing: how many images' features are not remembered, for each view; empty: all.
        """
        stages = recipe.stages
        assert stages is not None
        seconds = 60 * minutes * (1 - SPARE)
        views = max(1, recipe.data.remembered_views)
        missing = missing or [images] * views
        while views > 1 and sum(missing[:views]) * speed.look > FEATURES_SHARE * seconds:
            views -= 1
        for candidates in _fewer_candidates(stages):
            heads = _heads(candidates, speed, images, labels)
            if heads <= HEADS_SHARE * seconds:
                break
        epochs = stages.evidence_epochs
        while epochs > LEAST_EVIDENCE_EPOCHS and _evidence(epochs, images, speed) > EVIDENCE_SHARE * seconds:
            epochs -= 1
        evidence = _evidence(epochs, images, speed) if epochs else 0.0
        encoder = evidence <= MOST_EVIDENCE_SHARE * seconds
        held_out = images / stages.folds
        return cls(
            minutes,
            views,
            sum(missing[:views]) * speed.look,
            candidates.weights,
            candidates.decays,
            heads,
            epochs,
            evidence if encoder else 0.0,
            training=(images - held_out) * speed.step,
            scoring=held_out * speed.look,
            most_epochs=recipe.training.epochs if stages.finetune else 0,
            encoder=encoder,
        )

    def network(self, seconds: float) -> Epochs | None:
        """The epochs of the whole network for a time; None where it is too short, or the network is not to be trained.

        They are at most the recipe's.
        """
        if not self.most_epochs or seconds < LEAST_SHARE * self.training + self.scoring:
            return None
        return Epochs.within(seconds, self.training, self.scoring, self.most_epochs)

    def __str__(self) -> str:
        parts = [
            f"features of {self.views} view{'s' if self.views > 1 else ''}, {duration(self.features)}",
            f"heads{'' if max(self.weights) else ' on the mean of the map'}, {duration(self.heads)}",
        ]
        if not self.encoder:
            parts.append("co-occurrence in place of the encoder")
        elif self.evidence_epochs:
            parts.append(f"evidence {self.evidence_epochs} epochs, {duration(self.evidence)}")
        if self.most_epochs:
            left = 60 * self.minutes * (1 - SPARE) - self.features - self.heads - self.evidence
            network = self.network(left)
            planned = network and f"whole network {network}, {duration(network.seconds(self.training, self.scoring))}"
            parts.append(planned or "no time to train the whole network")
        return f"Plan for {self.minutes:g} minutes: {'; '.join(parts)}."


def _fewer_candidates(stages: StageSettings) -> list[StageSettings]:
    """The settings with all candidates of the heads, then with fewer and faster ones."""
    weights = (0.0,) if 0.0 in stages.weights else stages.weights
    fewer = [{}, {"weights": weights}, {"weights": weights[:1], "decays": stages.decays[:1]}]
    return [stages.model_copy(update=update) for update in fewer]


def _heads(stages: StageSettings, speed: Speed, images: int, labels: int) -> float:
    """Seconds of the heads' training: the trial of the candidates, then the chosen one."""
    training = HeadTraining(stages.head_epochs)
    trial = Trial.of(stages, images).cost(stages, images, labels)
    per_image = speed.head if max(stages.weights) else speed.mean_head
    return (1 + trial) * training.batch_size * training.steps(images) * per_image


def _evidence(epochs: int, images: int, speed: Speed) -> float:
    """Seconds of the encoder's training: without the held-out images, and on all."""
    training = EvidenceTraining(epochs=epochs)
    return 2 * training.batch_size * training.steps(images) * speed.evidence
