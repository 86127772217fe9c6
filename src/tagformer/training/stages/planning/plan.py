"""How much of each stage fits into a given time on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tagformer.recipes.recipe import Recipe
from tagformer.recipes.settings import StageSettings
from tagformer.training.progress import duration
from tagformer.training.stages.choice import Trial
from tagformer.training.stages.cooccurrence import CooccurrenceTraining
from tagformer.training.stages.evidence import EvidenceTraining
from tagformer.training.stages.heads import HeadTraining
from tagformer.training.stages.planning.speed import Speed
from tagformer.training.time_plan import LEAST_SHARE, SPARE, Epochs

FEATURES_SHARE = 0.4  # of the time at most, as long as there is more than one view
# Of the time for the encoder: at most, and what it always may take; else the network must be left with some epochs, for
# it gains more by them.
EVIDENCE_SHARE, FREE_EVIDENCE_SHARE, ENOUGH_EPOCHS = 0.3, 0.05, 6
LEAST_EVIDENCE_EPOCHS = 4  # where even they take too long, there is no encoder
COOCCURRENCE_SHARES = (0.1, 0.25)  # of the time at most, with all candidates, and with one; else there is none
HEADS_SHARE = 0.2  # of the time at most, as long as there is more than one candidate


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
        encoder: whether there is one; else labels depend on each other by co-occurrence alone.
        deviations: candidates of the co-occurrence's prior.
        cooccurrence: seconds for them.
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
    deviations: tuple[float, ...] = ()
    cooccurrence: float = 0.0

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
        every = stages.deviations if recipe.known.label_mask_training else ()
        one = every[len(every) // 2 :][:1]
        for deviations, share in zip((every, one), COOCCURRENCE_SHARES, strict=True):
            cooccurrence = _cooccurrence(deviations, speed)
            if cooccurrence <= share * seconds:
                break
        else:
            deviations, cooccurrence = (), 0.0
        features = sum(missing[:views]) * speed.look
        held_out = images / stages.folds
        training, scoring = (images - held_out) * speed.step, held_out * speed.look
        most_epochs = recipe.training.epochs if stages.finetune else 0
        left = seconds - features - heads - cooccurrence
        if most_epochs and left >= LEAST_SHARE * training + scoring:
            left -= min(ENOUGH_EPOCHS, most_epochs) * training
        allowed = max(FREE_EVIDENCE_SHARE * seconds, min(EVIDENCE_SHARE * seconds, left))
        epochs = stages.evidence_epochs
        while epochs > LEAST_EVIDENCE_EPOCHS and _evidence(epochs, images, speed) > allowed:
            epochs -= 1
        evidence = _evidence(epochs, images, speed) if epochs and images >= stages.encoder_images else 0.0
        encoder = 0 < evidence <= allowed
        return cls(
            minutes,
            views,
            features,
            candidates.weights,
            candidates.decays,
            heads,
            epochs,
            evidence if encoder else 0.0,
            training=training,
            scoring=scoring,
            most_epochs=most_epochs,
            encoder=encoder,
            deviations=deviations,
            cooccurrence=cooccurrence,
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
        if self.deviations:
            parts.append(f"co-occurrence, {duration(self.cooccurrence)}")
        if self.encoder and self.evidence_epochs:
            parts.append(f"evidence {self.evidence_epochs} epochs, {duration(self.evidence)}")
        if self.most_epochs:
            left = 60 * self.minutes * (1 - SPARE) - self.features - self.heads - self.cooccurrence - self.evidence
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


def _cooccurrence(deviations: Sequence[float], speed: Speed) -> float:
    """Seconds of the co-occurrence's training: each candidate, then without the held-out images, and on all."""
    if not deviations:
        return 0.0
    training = CooccurrenceTraining()
    return (len(deviations) + 2) * training.steps * training.batch_size * speed.cooccurrence
