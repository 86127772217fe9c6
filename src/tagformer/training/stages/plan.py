"""How much of each stage fits into a given time on this machine."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import ImageItems
from tagformer.images.transforms import training_transform
from tagformer.models.evidence import Evidence
from tagformer.recipes.recipe import Recipe
from tagformer.runs.run import default_device
from tagformer.training.auto_recipe import seconds_per_image
from tagformer.training.progress import duration
from tagformer.training.stages.evidence import EvidenceTraining, fit_evidence
from tagformer.training.time_plan import SPARE

FEATURES_SHARE = 0.4  # of the time at most, as long as there is more than one view
EVIDENCE_SHARE = 0.3  # of the time at most
LEAST_EVIDENCE_EPOCHS = 4
TRIAL_STEPS = 20  # of the encoder


@dataclass(frozen=True)
class Speed:
    """Seconds per image on this machine.

    Attributes:
        look: to read it and to compute its features, once.
        step: to read it and to train the whole network on it, once.
        evidence: to train the encoder on its evidence, once.

    >>> Speed(look=0.02, step=0.1, evidence=0.0005).step
    0.1
    """

    look: float
    step: float
    evidence: float


def measure_speed(model: Evidence, dataset: MultiLabelDataset, recipe: Recipe) -> Speed:
    """Measure a batch of each kind of work.

    Args:
        model: of the run.
        dataset: the training images.
        recipe: with the image size and the batch size.

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
    pictures = torch.zeros(batch, 3, image.size, image.size, device=device).contiguous(
        memory_format=torch.channels_last
    )
    with torch.inference_mode():
        look = _shortest(lambda: model.backbone(pictures)[-1].sum().item()) / batch
    began = time.monotonic()
    count = min(batch, len(items))
    for index in range(count):
        items[index]
    reading = (time.monotonic() - began) / count
    step = seconds_per_image(model, items, image.size, batch)
    return Speed(look + reading, step, _evidence_seconds(model))


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
        features: seconds for the features, if none are remembered.
        evidence_epochs: of the encoder.
        evidence: seconds for them.
        epoch: seconds for an epoch of the whole network.
        network_epochs: that fit into the rest; 0: the network is not trained.
        most_epochs: of the network, if there is more time; 0: it is not to be trained.

    >>> plan = Plan(10, 2, features=40, evidence_epochs=20, evidence=20, epoch=84, network_epochs=6, most_epochs=12)
    >>> print(plan)
    Plan for 10 minutes: features of 2 views, 40 seconds; evidence 20 epochs, 20 seconds;
    6 epochs of the whole network, 8 minutes.
    >>> plan.epochs_in(seconds=200)
    2
    """

    minutes: float
    views: int
    features: float
    evidence_epochs: int
    evidence: float
    epoch: float
    network_epochs: int
    most_epochs: int

    @classmethod
    def of(cls, minutes: float, speed: Speed, images: int, recipe: Recipe) -> Plan:
        """The plan for a number of training images.

        Args:
            minutes: the time for everything but the scoring of the test split.
            speed: of this machine.
            images: how many.
            recipe: with ``stages``; its numbers of epochs are the most that is planned.
        """
        stages = recipe.stages
        assert stages is not None
        seconds = 60 * minutes * (1 - SPARE)
        views = max(1, recipe.data.remembered_views)
        while views > 1 and images * views * speed.look > FEATURES_SHARE * seconds:
            views -= 1
        features = images * views * speed.look
        epochs = stages.evidence_epochs
        while epochs > LEAST_EVIDENCE_EPOCHS and _evidence(epochs, images, speed) > EVIDENCE_SHARE * seconds:
            epochs -= 1
        evidence = _evidence(epochs, images, speed) if epochs else 0.0
        held_out = 1 / stages.folds
        epoch = images * ((1 - held_out) * speed.step + held_out * speed.look)
        most = recipe.training.epochs if stages.finetune else 0
        plan = cls(minutes, views, features, epochs, evidence, epoch, network_epochs=0, most_epochs=most)
        return replace(plan, network_epochs=plan.epochs_in(seconds - features - evidence))

    def epochs_in(self, seconds: float) -> int:
        """How many epochs of the whole network fit into a time; at most the recipe's."""
        return max(0, min(self.most_epochs, math.floor(seconds / self.epoch)))

    def __str__(self) -> str:
        parts = [f"features of {self.views} view{'s' if self.views > 1 else ''}, {duration(self.features)}"]
        if self.evidence_epochs:
            parts.append(f"evidence {self.evidence_epochs} epochs, {duration(self.evidence)}")
        network = f"{self.network_epochs} epochs of the whole network, {duration(self.network_epochs * self.epoch)}"
        if self.most_epochs:
            parts.append(network if self.network_epochs else "no time to train the whole network")
        return f"Plan for {self.minutes:g} minutes: {'; '.join(parts)}."


def _evidence(epochs: int, images: int, speed: Speed) -> float:
    """Seconds of the encoder's training: without the held-out images, and on all."""
    training = EvidenceTraining(epochs=epochs)
    return 2 * training.batch_size * training.steps(images) * speed.evidence
