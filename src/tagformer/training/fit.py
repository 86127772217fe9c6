"""Training a recipe into a run folder."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from tagformer.backbones.base import has_folded_norms
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.load import load_training_data
from tagformer.data.loader.loader import ImageItems, TrainingLoader, evaluation_loader
from tagformer.data.loader.sampler import ClassAware, EpochBatches, derive_seed
from tagformer.errors import TagformerError
from tagformer.images.transforms import evaluation_transform, training_transform
from tagformer.recipes.recipe import Recipe
from tagformer.runs.run import (
    BEST,
    CHECKPOINTS,
    HISTORY,
    LABELS,
    LAST,
    RECIPE,
    Run,
    model_from_recipe,
    write_labels,
    write_weights,
)
from tagformer.runs.warm_start import start_from_run
from tagformer.training.auto_recipe import seconds_per_image
from tagformer.training.callbacks import BestCheckpoint, History, LastCheckpoint, Patience, Position
from tagformer.training.module import TrainingModule, model_state


@dataclass(frozen=True)
class Listener:
    """Where training says what it does.

    Attributes:
        say: called with lines of text.
        epoch: called with each line of the history.
        bars: show Lightning's rich progress bars.
    """

    say: Callable[[str], None] = lambda line: None
    epoch: Callable[[dict[str, Any]], None] = lambda row: None
    bars: bool = False


@dataclass(frozen=True)
class Fitted:
    """
    Attributes:
        folder: the run folder.
        train, val: the data.
        bad_images: one sentence for each image left out.
        rows: the history, a line an epoch.
    """

    folder: Path
    train: MultiLabelDataset
    val: MultiLabelDataset
    bad_images: frozenset[str] = frozenset()
    rows: list[dict[str, Any]] = field(default_factory=list)


def fit(recipe: Recipe, out: Path, resume: bool = False, listener: Listener | None = None) -> Fitted:
    """Train `recipe` into the run folder `out`.

    Args:
        resume: go on from ``checkpoints/last.ckpt`` where there is one; the result is the same as without the break.

    Raises:
        TagformerError: the folder is in use, data or weights cannot be had, or training diverges.
        TrainingInterruptedError: Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    listener = listener or Listener()
    if out.exists() and not out.is_dir():
        raise TagformerError(f"{out} is a file: choose another --out.")
    if not resume and out.exists() and any(out.iterdir()):
        raise TagformerError(
            f"{out} is not empty: choose another --out, or go on with 'tagformer train --resume --out {out}'."
        )
    recipe = recipe.model_copy(deep=True)
    data, training = recipe.data, recipe.training
    if data.spec is None:
        raise TagformerError("no data: name it with --data FORMAT:PATH, for example --data csv:my.csv.")
    on_bad_image = data.on_bad_image if recipe.uses_image else "keep"
    train, val = load_training_data(data.spec, data.val_fraction, training.seed, on_bad_image)
    listener.say(f"{len(train)} images to train on, {len(val)} to validate, {len(train.label_space)} labels.")
    torch.manual_seed(derive_seed(training.seed, "weights"))
    checkpoint = out / CHECKPOINTS / LAST
    if checkpoint.is_file() and not is_zipfile(checkpoint):
        raise TagformerError(
            f"{checkpoint} is damaged and the run cannot go on: delete it, and the same command trains from the start."
        )
    settings = recipe.model.backbone
    fresh, init = not checkpoint.is_file(), recipe.model.init
    if fresh and init is None and settings.pretrained and settings.weights is None:
        listener.say(f"Fetching the pretrained weights of {settings.name}, unless they are in the cache ...")
    model = model_from_recipe(recipe, train.label_space, load_weights=fresh and init is None)
    if fresh and init is not None:
        loaded = start_from_run(model, Path(init))
        listener.say(f"{loaded / 1e6:.1f} M weights are those of {init}; the heads are new.")
    if recipe.model.start_from_frequencies:
        model.start_from_frequencies(train.frequencies)
    backbone = model.backbone
    weights = settings.weights or settings.pretrained
    if weights and fresh and not settings.freeze_norm and has_folded_norms(backbone):
        listener.say("The weights have their batch norms folded in, so the norms' statistics are kept as they are.")
        settings.freeze_norm = True
    recipe.image.mean, recipe.image.std = recipe.image.statistics(backbone)
    if not resume or not (out / RECIPE).is_file():
        recipe.save(out / RECIPE)
    _write_or_check_labels(out, train)

    loader, val_loader = _loaders(recipe, train, val)
    batches = len(loader)
    module = TrainingModule(model, recipe, math.ceil(batches / training.accumulate))
    best = BestCheckpoint(
        checkpoint.with_name(BEST), lambda state: write_weights(out, model_state(state)), training.keep == "last"
    )
    last = LastCheckpoint(checkpoint, training.checkpoint_minutes, training.checkpoint_steps)
    history = History(out / HISTORY, listener.say, listener.epoch)
    with _quiet():
        trainer = Trainer(
            accelerator="auto",
            devices=1,
            precision=_precision(recipe),
            max_epochs=training.epochs,
            accumulate_grad_batches=training.accumulate,
            gradient_clip_val=training.clip,
            callbacks=[Position(loader), *_optional_callbacks(recipe, listener.bars), history, best, last],
            logger=_loggers(recipe, out),
            default_root_dir=out,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, batches),
            enable_model_summary=False,
            enable_progress_bar=listener.bars,
            use_distributed_sampler=False,
        )
    if fresh:
        seconds = seconds_per_image(model, loader.items, recipe.image.size, data.batch_size)
        total = seconds * training.epochs * (len(train) + len(val) / 3)
        listener.say(f"Training will take about {duration(total)} on this machine.")
    with _quiet(), last.listening():
        trainer.fit(
            module,
            loader,
            val_loader,
            ckpt_path=None if fresh else checkpoint,
            weights_only=False,
        )
    left_out = frozenset({*module.bad_images, *train.left_out, *val.left_out})
    return Fitted(out, train, val, left_out, history.rows)


def duration(seconds: float) -> str:
    """A time to read: ``40 seconds``, ``12 minutes``, ``3.5 hours``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"


def _write_or_check_labels(out: Path, train: MultiLabelDataset) -> None:
    if not (out / LABELS).is_file():
        write_labels(out, train.label_space, frequencies=train.frequencies)
    elif Run.load(out).label_space != train.label_space:
        raise TagformerError(f"{out} was begun with other labels than its data has now: train into another --out.")


def _loaders(recipe: Recipe, train: MultiLabelDataset, val: MultiLabelDataset) -> tuple[TrainingLoader, Any]:
    image, data, seed = recipe.image, recipe.data, recipe.training.seed
    pin = torch.cuda.is_available()
    transform = plain = None
    if recipe.uses_image:
        plain = evaluation_transform(image.size, image.resize)
        transform = training_transform(
            image.size, image.resize, image.crop, image.crop_scale, image.flip, image.rand_augment, image.cutout
        )
    order = ClassAware(train) if data.sampling == "class_aware" else None
    batches = EpochBatches(len(train), data.batch_size, seed, order)
    loader = TrainingLoader(ImageItems(train, transform, seed), batches, data.workers, pin)
    return loader, evaluation_loader(val, plain, data.batch_size, data.workers, pin)


def _optional_callbacks(recipe: Recipe, bars: bool) -> list[Callback]:
    callbacks: list[Callback] = []
    if recipe.training.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=recipe.training.ema))
    if recipe.training.patience is not None:
        callbacks.append(Patience(recipe.training.patience))
    if bars:
        callbacks.append(RichProgressBar(leave=False))
    return callbacks


def _loggers(recipe: Recipe, out: Path) -> list[Logger]:
    kinds: dict[str, Any] = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}
    try:
        return [kinds[name](out / "logs", name=name) for name in recipe.training.loggers]
    except ModuleNotFoundError as error:
        raise TagformerError("the tensorboard logger is not installed: pip install tensorboard.") from error


def _precision(recipe: Recipe) -> Any:
    if recipe.training.precision is not None:
        return recipe.training.precision
    return "bf16-mixed" if torch.cuda.is_available() else "32-true"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice on loaders and hardware out of the way; errors come as exceptions."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", module="torch")
        try:
            yield
        finally:
            logger.setLevel(level)
