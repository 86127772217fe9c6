"""Training in stages: each is kept only if it is better on held-out images, and after each the run is a model."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tagformer.data.loader.sampler import derive_seed
from tagformer.errors import TagformerError
from tagformer.features.remember import remember_features
from tagformer.features.remembered import RememberedFeatures
from tagformer.features.store import FeatureStore
from tagformer.features.views import view_names
from tagformer.models.evidence import Evidence
from tagformer.recipes.settings import StageSettings
from tagformer.runs.run import default_device, write_weights
from tagformer.training.build import build_model, complete_settings
from tagformer.training.prepare import Prepared, Reporter, save_settings
from tagformer.training.stages.evidence import EvidenceTraining, fit_evidence
from tagformer.training.stages.folds import draw_folds
from tagformer.training.stages.heads import Heads, HeadSetting, HeadTraining, fit_heads, head_state, out_of_fold
from tagformer.training.stages.heldout import decoded, known_curve, mean_average_precision

HELD_OUT = 0  # the fold whose images no stage is trained on before it is scored


@dataclass(frozen=True)
class Figures:
    """A stage's figures on the held-out images.

    Attributes:
        name: of the stage.
        mAP: with nothing known.
        curve: of a fixed quarter of the labels with 0, 25, 50 and 75 % known; empty where the stage ignores them.
        seconds: that the stage took.
        kept: whether the model has it.
    """

    name: str
    mAP: float  # noqa: N815
    curve: tuple[float, ...] = ()
    seconds: float = 0.0
    kept: bool = True


@dataclass
class Training:
    """What the stages share.

    Attributes:
        prepared: the settings and the data.
        model: of the run; after a stage that is kept it has its weights.
        features: of the training images.
        folds: int64 (N,), of each image.
        labels: int8 (N, L).
        reporter: where to report progress.
    """

    prepared: Prepared
    model: Evidence
    features: RememberedFeatures
    folds: Tensor
    labels: Tensor
    reporter: Reporter

    @property
    def settings(self) -> StageSettings:
        """The recipe's section ``stages``."""
        assert self.prepared.recipe.stages is not None
        return self.prepared.recipe.stages

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        return self.prepared.recipe.training.seed

    @property
    def rows(self) -> Tensor:
        """The rows whose images can be read, int64."""
        return torch.tensor(self.features.rows)

    @property
    def held_out(self) -> Tensor:
        """The rows that are held out, int64."""
        return self.rows[self.folds[self.rows] == HELD_OUT]


def start(prepared: Prepared, reporter: Reporter, cache_gb: float) -> Training:
    """Build the model, save the settings, remember the features and draw the folds."""
    recipe = prepared.recipe
    torch.manual_seed(derive_seed(recipe.training.seed, "weights"))
    model = build_model(prepared, reporter)
    if not isinstance(model, Evidence):
        raise TagformerError(f"training in stages needs the model evidence, not {recipe.model.name}.")
    complete_settings(prepared, model, reporter)
    save_settings(prepared)
    store = FeatureStore(limit_gb=cache_gb, message=reporter.message)
    features = remember_features(
        model.backbone,
        prepared.train,
        recipe.image.preprocessing(model.backbone),
        view_names(recipe.data.remembered_views, mirror=recipe.image.flip > 0),
        store,
        workers=recipe.data.workers,
        on_bad_image=recipe.data.on_bad_image,
        device=default_device(),
        bars=reporter.bar,
    )
    assert recipe.stages is not None
    folds = draw_folds(prepared.train, recipe.stages.folds, recipe.training.seed)
    return Training(prepared, model, features, folds, prepared.train.labels, reporter)


@dataclass(frozen=True)
class TrainedHeads:
    """The result of the first stage.

    Attributes:
        heads: all of them.
        chosen: the number of the best setting.
        evidence_logits: its out-of-fold logits (V, N, L) of V views.
        linear: figures of the best setting without the maximum.
        figures: of the chosen setting.
    """

    heads: Heads
    chosen: int
    evidence_logits: Tensor
    linear: Figures
    figures: Figures


def train_heads(training: Training) -> TrainedHeads:
    """The first stage: candidate heads on remembered features, chosen by cross-validation."""
    began = time.monotonic()
    settings, rows = training.settings, training.rows
    grid = [HeadSetting(weight, decay) for weight in settings.weights for decay in settings.decays]
    steps = HeadTraining(settings.head_epochs, lr=settings.head_lr, seed=training.seed)
    with training.reporter.bar("Training the head", steps.steps(len(rows))) as bar:
        heads = fit_heads(training.features, training.labels, training.folds, grid, steps, bar)
    plain = out_of_fold(heads, training.features)  # (S, N, L)
    scores = [mean_average_precision(logits[rows], training.labels[rows]) for logits in plain]
    chosen = max(range(len(grid)), key=scores.__getitem__)
    linear = max((s for s in range(len(grid)) if not grid[s].weight), key=scores.__getitem__, default=chosen)
    others = [out_of_fold(heads, training.features, view)[chosen] for view in range(1, min(2, settings.folds))]
    held_out = training.held_out

    def figures(name: str, setting: int) -> Figures:
        mAP = mean_average_precision(plain[setting][held_out], training.labels[held_out])  # noqa: N806
        return Figures(name, mAP, seconds=time.monotonic() - began)

    training.reporter.message(
        f"Head: mAP {100 * scores[chosen]:.1f} by cross-validation ({settings.folds} folds), "
        f"weight of the maximum {grid[chosen].weight:g}, weight decay {grid[chosen].decay:g}; "
        f"linear {100 * scores[linear]:.1f}."
    )
    logits = torch.stack([plain[chosen], *others])
    return TrainedHeads(heads, chosen, logits, figures("linear", linear), figures("head", chosen))


def use_head(training: Training, trained: TrainedHeads, part: int = -1) -> None:
    """Give the run's model a head, by default the one that has seen all images, and no correction of it."""
    model, heads = training.model, trained.heads
    with torch.no_grad():
        model.weight = heads.settings[trained.chosen].weight
        training.prepared.recipe.model.options["weight"] = model.weight
        for name, value in head_state(heads, trained.chosen, part).items():
            model.get_buffer(name).copy_(value) if "standardised" in name else model.get_parameter(name).copy_(value)


def train_evidence(training: Training, trained: TrainedHeads) -> Figures:
    """The second stage: C-Tran's encoder on out-of-fold evidence; kept if it is better on held-out images.

    It is first trained without the held-out images and scored on them, then from its start on all images.
    """
    began = time.monotonic()
    settings, known = training.settings, training.prepared.recipe.known
    options = EvidenceTraining(
        epochs=settings.evidence_epochs,
        lr=settings.evidence_lr,
        min_unknown=known.min_unknown,
        cooccurrence=settings.cooccurrence,
        seed=training.seed,
    )
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    held_out, rows = training.held_out, training.rows
    others = rows[training.folds[rows] != HELD_OUT]
    labels, logits = training.labels, trained.evidence_logits
    steps = options.steps(len(others)) + options.steps(len(rows))
    with training.reporter.bar("Training on evidence", steps) as bar:
        fit_evidence(training.model, logits[:, others], labels[others], options, bar)
        mAP = mean_average_precision(decoded(training.model, logits[0, held_out]), labels[held_out])  # noqa: N806
        ids = [training.prepared.train.ids[row] for row in held_out.tolist()]
        curve = known_curve(training.model, logits[0, held_out], labels[held_out], ids)
        figures = Figures("evidence", mAP, tuple(curve))
        first = options.steps(len(others))
        training.model.load_state_dict(before)
        fit_evidence(training.model, logits[:, rows], labels[rows], options, lambda step: bar(first + step))
    return replace(figures, seconds=time.monotonic() - began)


def save(training: Training) -> None:
    """Write the model as it is now to the run folder."""
    training.prepared.recipe.save(training.prepared.folder / "recipe.yaml")
    write_weights(training.prepared.folder, training.model.state_dict())
