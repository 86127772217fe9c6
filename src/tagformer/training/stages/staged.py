"""Training in stages: each is kept only if it is better on held-out images, and after each the run is a model."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from tagformer.features.remember import missing_features, remember_features
from tagformer.features.remembered import RememberedFeatures
from tagformer.features.store import FeatureStore
from tagformer.features.views import view_names
from tagformer.labels.space import without_extra
from tagformer.metrics.calibration import fit_temperature
from tagformer.models.evidence import Evidence
from tagformer.runs.run import RECIPE, Run, default_device
from tagformer.training.prepare import Prepared, Reporter
from tagformer.training.stages.calibration import choose_thresholds
from tagformer.training.stages.choice import Trial, candidates, choose
from tagformer.training.stages.evidence import EvidenceTraining, fit_evidence
from tagformer.training.stages.finetune import finetune, moved_alike
from tagformer.training.stages.folds import draw_folds, heads_seen
from tagformer.training.stages.heads import HeadSetting, HeadTraining, fit_heads, out_of_fold
from tagformer.training.stages.heldout import (
    HeldOut,
    cross_validated,
    decoded,
    label_weights,
    precisions_within_folds,
    some_labels,
)
from tagformer.training.stages.model import StagedRun
from tagformer.training.stages.plan import Plan, measure_speed
from tagformer.training.stages.record import Record, Stage
from tagformer.training.stages.room import FeatureRoom
from tagformer.training.stages.size import choose_size
from tagformer.training.time_plan import SPARE, set_epochs

SCALES = (1.0, 0.85, 0.7, 0.6, 0.5)  # of the evidence of a network that was trained further
HELD_OUT = 0  # the fold whose images a stage has not seen when it is scored


class StagedTraining(StagedRun):
    """The stages of one run, in the order in which they are called.

    Args:
        prepared: the settings and the data.
        reporter: where to report progress.
        cache_gb: the room for remembered features, see `fit`.

    Attributes:
        record: the figures of the stages that are done.
        room: where features are remembered; remove it when the heads are trained.
    """

    def __init__(self, prepared: Prepared, reporter: Reporter, cache_gb: float) -> None:
        self.began = time.monotonic()
        super().__init__(prepared, reporter)
        self.reporter, self.labels = reporter, prepared.train.labels
        self.targets = without_extra(self.labels, prepared.train.label_space)  # of all figures and thresholds
        self.record = Record.load(prepared.folder)
        self.began -= sum(stage.seconds for stage in self.record.stages)
        self.room = FeatureRoom(prepared.folder, cache_gb, reporter.message)
        try:
            self._begin()
        except BaseException:
            self.room.remove()
            raise

    def _begin(self) -> None:
        """Load the model of the stages that are done, or compute the features for the first one, and draw the folds."""
        if "head" in self.record:
            self.load()
            self.rows, self.bad_images = self.files.images()
        else:
            if self.settings.sizes:
                self._choose_size()
                self.recipe.save(self.prepared.folder / RECIPE)
            self._make_plan()
            self.features = self.room.use(self._remember)
            self.rows, self.bad_images = torch.tensor(self.features.rows), self.features.bad_images
        train = self.prepared.train
        self.folds = torch.full((len(train),), -1)
        self.folds[self.rows] = draw_folds(train.subset(self.rows.tolist()), self.settings.folds, self.seed)
        if (folds := int(self.folds.max()) + 1) < self.settings.folds:
            self.reporter.message(f"There are only {folds} different images: they are {folds} folds.")
            self.settings.folds = folds
        self.held_out = HeldOut(train, self.rows[self.folds[self.rows] == HELD_OUT])

    @property
    def seen(self) -> Tensor:
        """Which folds each head sees, bool (heads, folds)."""
        return heads_seen(self.settings.folds, HELD_OUT)

    @property
    def can_compare(self) -> bool:
        """Whether a held-out image has a label, so that it can be said which stages are better."""
        return not math.isnan(self.record["head"].score)

    def _choose_size(self) -> None:
        recipe = self.recipe
        size, figures = self.room.use(
            lambda store: choose_size(
                self.model.backbone,
                self.prepared.train,
                lambda pixels: recipe.image.model_copy(update={"size": pixels}).preprocessing(self.model.backbone),
                self.settings.sizes,
                FeatureStore(store.folder, store.limit_gb),
                workers=recipe.data.workers,
                on_bad_image=recipe.data.on_bad_image,
                bars=self.reporter.bar,
            )
        )
        tried = ", ".join(f"{pixels} pixels {100 * figure:.1f}" for pixels, figure in figures.items())
        self.reporter.message(f"Image size {size}: mAP by cross-validation on a sample: {tried}.")
        recipe.image.size, self.settings.sizes = size, ()

    def _make_plan(self) -> None:
        """Plan the first stages for the recipe's minutes, where it has some."""
        if self.settings.minutes is not None:
            missing = self.room.use(self._missing)
            plan = self._plan(self.settings.minutes, missing)
            self.settings.evidence_epochs, self.recipe.data.remembered_views = plan.evidence_epochs, plan.views
            self.settings.weights, self.settings.decays = plan.weights, plan.decays
            if not plan.encoder:
                self.recipe.model.options["layers"] = 0
            self.reporter.message(str(plan))

    def _plan(self, minutes: float, missing: Sequence[int] = (), network_only: bool = False) -> Plan:
        train, left = self.prepared.train, 60 * minutes - (time.monotonic() - self.began)
        speed = measure_speed(self.model, train, self.recipe, left, network_only)
        return Plan.of(minutes, speed, len(train), len(train.label_space), self.recipe, missing)

    def plan_network(self) -> None:
        """Set the epochs of the last stage to what fits into the time that is left.

        The recipe then has the planned settings and no minutes, so that it repeats the run, and is not planned again
        when the run is resumed.
        """
        minutes = self.settings.minutes
        if minutes is None:
            return
        if self.settings.finetune:
            plan = self._plan(minutes, network_only=True)  # measured again: other work may have ended or begun
            epochs = plan.network(60 * minutes * (1 - SPARE) - (time.monotonic() - self.began))
            self.settings.finetune = epochs is not None
            if epochs is None:
                self.reporter.message("No time is left to train the whole network: give more --minutes.")
            else:
                self.reporter.message(f"Whole network: {epochs}.")
                images = len(self.rows) - len(self.held_out.rows)
                set_epochs(self.recipe, epochs, math.ceil(images / self.recipe.data.batch_size))
        self.settings.minutes = None
        self.recipe.save(self.prepared.folder / RECIPE)

    @property
    def _views(self) -> tuple[str, ...]:
        return view_names(max(1, self.recipe.data.remembered_views), mirror=self.recipe.image.flip > 0)

    def _missing(self, store: FeatureStore) -> list[int]:
        return missing_features(self.model.backbone, self.prepared.train, self.preprocessing, self._views, store)

    def _remember(self, store: FeatureStore) -> RememberedFeatures:
        data = self.recipe.data
        return remember_features(
            self.model.backbone,
            self.prepared.train,
            self.preprocessing,
            self._views,
            store,
            workers=data.workers,
            on_bad_image=data.on_bad_image,
            device=default_device(),
            bars=self.reporter.bar,
        )

    def train_heads(self) -> None:
        """The first stage: heads on remembered features, with the setting that is best on a part of the folds."""
        began, settings = time.monotonic(), self.settings
        grid = candidates(settings)
        chosen = self._choose_setting(grid) if len(grid) > 1 else grid[0]
        steps = HeadTraining(settings.head_epochs, lr=settings.head_lr, seed=self.seed)
        with self.reporter.bar("Training the head", steps.steps(len(self.rows))) as bar:
            heads = fit_heads(self.features, self.labels, self.folds, [chosen], steps, self.seen, bar)
        views = [out_of_fold(heads, self.features, view)[0] for view in range(min(2, len(self.features.views)))]
        self.use_heads(heads)
        self.files.write_heads(heads, torch.stack(views), self.rows, self.bad_images)
        seconds = time.monotonic() - began
        self.record.add(self.held_out.of_logits("head", views[0][self.held_out.rows], seconds=seconds))
        figure = cross_validated(views[0][self.rows], self.targets[self.rows], self.folds[self.rows])
        self.reporter.message(
            f"Head: mAP {100 * figure:.1f} by cross-validation over {settings.folds} folds, with a weight of the "
            f"maximum of {chosen.weight:g} and weight decay {chosen.decay:g}."
        )

    def _choose_setting(self, grid: Sequence[HeadSetting]) -> HeadSetting:
        """The setting that is best in a trial of all of them."""
        trial = Trial.of(self.settings, len(self.rows), self.seed)
        seen = self.seen[: trial.heads]
        columns = some_labels(self.targets[self.rows], trial.labels, self.seed)
        labels = self.targets[:, columns]
        with self.reporter.bar("Choosing the head", trial.training.steps(len(self.rows))) as bar:
            heads = fit_heads(self.features, labels, self.folds, grid, trial.training, seen, bar)
        logits = out_of_fold(heads, self.features)
        rows = self.rows[~seen[:, self.folds[self.rows]].all(0)]
        precisions = torch.stack([precisions_within_folds(z[rows], labels[rows], self.folds[rows]) for z in logits])
        linear = [number for number, setting in enumerate(grid) if not setting.weight]
        if linear:
            best = max(linear, key=lambda number: precisions[number].nanmean())
            of_best = logits[best][self.held_out.rows]
            self.record.add(self.held_out.of_logits("linear", of_best, columns, kept=False))
        return grid[choose(precisions, label_weights(labels[rows]))]

    def train_evidence(self) -> None:
        """The second stage: C-Tran's encoder on out-of-fold evidence; where it is not kept, co-occurrence alone.

        On few images an encoder may be worse than the heads where nothing is known, and known labels matter all the
        same. Stages that are in the record are not repeated.
        """
        options = self.recipe.model.options
        if "evidence" not in self.record:
            self._train_evidence("evidence", options)
        if not self.record["evidence"].kept and len(self.model.encoder) and "co-occurrence" not in self.record:
            self._train_evidence("co-occurrence", {**options, "layers": 0})

    def _train_evidence(self, name: str, options: dict[str, object]) -> None:
        """Train without the held-out images and score on them; if it is better, train from the start on all images."""
        began, before = time.monotonic(), self.model
        training = EvidenceTraining(
            epochs=self.settings.evidence_epochs,
            lr=self.settings.evidence_lr,
            min_unknown=self.recipe.known.min_unknown,
            cooccurrence=self.settings.cooccurrence,
            seed=self.seed,
        )
        logits, labels = self.files.evidence_logits(), self.labels
        others = self.rows[self.folds[self.rows] != HELD_OUT]
        first, second = training.steps(len(others)), training.steps(len(self.rows))
        with self.reporter.bar(f"Training on {name}", first + second) as bar:
            self.model = self.with_new_encoder(options)
            fit_evidence(self.model, logits[:, others], labels[others], training, bar)
            self.files.write_encoder(self.model)
            stage = self.held_out.of_model(name, self.model, logits[0, self.held_out.rows])
            stage.kept = stage.score > self.record["head"].score
            if stage.kept:
                self.model = self.with_new_encoder(options)
                fit_evidence(
                    self.model, logits[:, self.rows], labels[self.rows], training, lambda step: bar(first + step)
                )
        stage.seconds = time.monotonic() - began
        if stage.kept:
            self.recipe.model.options = options
        else:
            self.model = before
            self.files.remove_encoder()
        self.save()
        self.record.add(stage)

    def train_network(self) -> None:
        """The last stage: the whole network, from heads that have not seen the held-out images.

        It is scored with these heads. If it is better, the run gets it with all heads, each changed as these.
        """
        began = time.monotonic()
        unseen = (~self.seen[:, HELD_OUT]).nonzero().flatten().tolist()
        some, every = (self.network_with(heads) for heads in (unseen, range(len(self.seen))))
        options = {"weight": self.model.weight, "ensemble": len(some["classifier_weight"])}
        state = finetune(self.prepared, self.held_out.rows, some, options, self.reporter)
        model = self.model_with({**self.recipe.model.options, **options})
        model.load_state_dict({**self.model.state_dict(), **state, **self.files.encoder_state()})
        model.evidence_scale.fill_(1.0)
        model.to(default_device()).eval()
        evidence_logits = self.encode(model, self.prepared.train.subset(self.held_out.rows.tolist()))
        self.record.add(self.held_out.of_logits("network alone", evidence_logits, kept=False))
        scale, stage = self._best_scale(model, evidence_logits)
        stage.seconds = time.monotonic() - began
        stage.kept = stage.score > max(other.score for other in self.record.stages if other.kept)
        if stage.kept:
            self.use_network(moved_alike(every, some, state), scale)
            run = Run.load(self.prepared.folder)  # the thresholds are of calibrated probabilities, so they stay
            temperature = fit_temperature(decoded(model, scale * evidence_logits), self.held_out.labels)
            run.save_thresholds(run.thresholds, temperature)
        self.record.add(stage)

    def _best_scale(self, model: Evidence, evidence_logits: Tensor) -> tuple[float, Stage]:
        """The scale of the trained network's evidence (H, L) that is best on the held-out images, and its figures."""
        stages = {scale: self.held_out.of_model("network", model, scale * evidence_logits) for scale in SCALES}
        best = max(SCALES, key=lambda scale: stages[scale].score)
        return best, stages[best]

    def calibrate(self) -> None:
        """Choose thresholds and temperature on the decoded out-of-fold evidence."""
        logits = decoded(self.model, self.files.evidence_logits()[0, self.rows])
        thresholds, temperature = choose_thresholds(logits, self.targets[self.rows])
        Run.load(self.prepared.folder).save_thresholds(thresholds, temperature)
