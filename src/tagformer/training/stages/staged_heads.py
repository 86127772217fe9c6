"""The first stage: features, the plan, and heads on remembered features."""

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
from tagformer.runs.run import RECIPE, default_device
from tagformer.training.prepare import Prepared, Reporter
from tagformer.training.stages.choice import Trial, candidates, choose
from tagformer.training.stages.folds import draw_folds, heads_seen
from tagformer.training.stages.heads import HeadSetting, HeadTraining, fit_heads, out_of_fold
from tagformer.training.stages.heldout import (
    HeldOut,
    cross_validated,
    label_weights,
    precisions_within_folds,
    some_labels,
)
from tagformer.training.stages.model import StagedRun
from tagformer.training.stages.planning.plan import Plan
from tagformer.training.stages.planning.size import choose_size
from tagformer.training.stages.planning.speed import measure_speed
from tagformer.training.stages.record import Record
from tagformer.training.stages.room import FeatureRoom

HELD_OUT = 0  # the fold whose images a stage has not seen when it is scored


class StagedHeads(StagedRun):
    """The beginning of a training in stages.

    Args:
        prepared: the settings and the data.
        reporter: where to report progress.
        cache_gb: the room for remembered features, see `fit`.

    Attributes:
        record: the figures of the stages that are done.
        room: where features are remembered; remove it when the heads are trained.
        rows: the images that could be read, int64.
        folds: of all images, int64; -1 for those that could not be read.
        held_out: the images of one fold, by which stages are compared.
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
            self.settings.evidence_epochs = plan.evidence_epochs if plan.encoder else 0
            self.recipe.data.remembered_views = plan.views
            self.settings.weights, self.settings.decays = plan.weights, plan.decays
            self.settings.deviations = plan.deviations
            self.reporter.message(str(plan))

    def _plan(self, minutes: float, missing: Sequence[int] = (), network_only: bool = False) -> Plan:
        train, left = self.prepared.train, 60 * minutes - (time.monotonic() - self.began)
        speed = measure_speed(self.model, train, self.recipe, left, network_only)
        return Plan.of(minutes, speed, len(train), len(train.label_space), self.recipe, missing)

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
