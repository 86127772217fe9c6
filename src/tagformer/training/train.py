"""Training a recipe into a run folder: prepare, build, train."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.recipes.recipe import Recipe
from tagformer.runs.run import BEST, HISTORY, Run, write_weights
from tagformer.training.auto_recipe import seconds_per_image
from tagformer.training.build import Built
from tagformer.training.callbacks import BestCheckpoint, History, LastCheckpoint, MovingAverage, Patience, Position
from tagformer.training.checkpoints import RESTART, CheckpointFiles
from tagformer.training.module import model_state
from tagformer.training.prepare import Prepared, Reporter
from tagformer.training.progress import EpochProgress, duration


@dataclass(frozen=True)
class Fitted:
    """What `fit` leaves: the run folder, the data and the history.

    Attributes:
        folder: the run folder.
        train, val: the data.
        bad_images: one sentence for each image left out.
        rows: the history, one row per epoch.

    >>> from tagformer.data import load_dataset
    >>> from tagformer.training import Fitted
    >>> fitted = Fitted(Path("runs/mine"), load_dataset("scenes?images=24"), load_dataset("scenes?images=24", "val"))
    >>> len(fitted.train), fitted.bad_images
    (24, frozenset())
    """

    folder: Path
    train: MultiLabelDataset
    val: MultiLabelDataset
    bad_images: frozenset[str] = frozenset()
    rows: list[dict[str, Any]] = field(default_factory=list)


def train(prepared: Prepared, built: Built, reporter: Reporter) -> Fitted:
    """Train what was built, and write the weights, the history and the checkpoints.

    Raises:
        TagformerError: training diverges, or a logger is not installed.
        TrainingInterruptedError: Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    recipe, folder, module = prepared.recipe, prepared.folder, built.module
    best = BestCheckpoint(
        prepared.checkpoint.with_name(BEST),
        lambda state: write_weights(folder, model_state(state)),
        always=recipe.training.keep == "last",
        monitor=recipe.training.monitor,
    )
    last = LastCheckpoint(
        prepared.checkpoint,
        recipe.training.checkpoint_minutes,
        recipe.training.checkpoint_steps,
        Run.load(folder).id,
    )
    history = History(folder / HISTORY, reporter.message, reporter.epoch)
    callbacks = [Position(built.loader), *_optional_callbacks(recipe, reporter), history, best, last]
    with _quiet():
        trainer = _create_trainer(prepared, callbacks, len(built.loader), reporter.bars)
    resume_from = None if prepared.fresh else prepared.checkpoint
    if resume_from is None:
        reporter.message(f"Training will take about {duration(_estimated_seconds(prepared, built))} on this machine.")
    with _quiet(), last.handle_signals(), _restoring(prepared, history):
        trainer.fit(module, built.loader, built.val_loader, ckpt_path=resume_from, weights_only=True)
    bad_images = frozenset({*module.bad_images, *prepared.train.left_out, *prepared.val.left_out})
    return Fitted(folder, prepared.train, prepared.val, bad_images, history.rows)


@contextmanager
def _restoring(prepared: Prepared, history: History) -> Iterator[None]:
    """Raise what goes wrong before the training has started from a checkpoint as one sentence."""
    try:
        yield
    except TagformerError:
        raise
    except Exception as error:  # foreign content raises errors of any kind
        if prepared.fresh or history.started:
            raise
        reason = str(error).split("\n")[0] or type(error).__name__
        raise TagformerError(f"{prepared.checkpoint} does not fit this run ({reason}): {RESTART}.") from error


def _estimated_seconds(prepared: Prepared, built: Built) -> float:
    """The whole training's time; an image of validation, without a backward pass, takes a third."""
    recipe = prepared.recipe
    per_image = seconds_per_image(built.module.model, built.loader.items, recipe)
    images = recipe.training.epoch_share * len(prepared.train) + len(prepared.val) / 3
    return per_image * recipe.training.epochs * images


def _create_trainer(prepared: Prepared, callbacks: list[Callback], batches: int, bars: bool) -> Trainer:
    training = prepared.recipe.training
    return Trainer(
        accelerator="auto",
        devices=1,
        precision=_precision(prepared.recipe),
        max_epochs=training.epochs,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.clip,
        callbacks=callbacks,
        logger=_loggers(prepared.recipe, prepared.folder),
        default_root_dir=prepared.folder,
        plugins=[CheckpointFiles()],
        num_sanity_val_steps=0,
        log_every_n_steps=min(10, batches),
        enable_model_summary=False,
        enable_progress_bar=bars,
        use_distributed_sampler=False,
    )


def _optional_callbacks(recipe: Recipe, reporter: Reporter) -> list[Callback]:
    callbacks: list[Callback] = []
    if recipe.training.ema is not None:
        callbacks.append(MovingAverage(recipe.training.ema))
    if recipe.training.patience is not None:
        callbacks.append(Patience(recipe.training.patience, recipe.training.monitor))
    callbacks.append(RichProgressBar(leave=False) if reporter.bars else EpochProgress(reporter.message))
    return callbacks


def _loggers(recipe: Recipe, folder: Path) -> list[Logger]:
    kinds: dict[str, Any] = {"csv": CSVLogger, "tensorboard": TensorBoardLogger, "wandb": WandbLogger}
    loggers: list[Logger] = []
    for name in recipe.training.loggers:
        options = {"save_dir": folder / "logs", "name": folder.name if name == "wandb" else name}
        try:
            loggers.append(kinds[name](**options))
        except ModuleNotFoundError as error:
            raise TagformerError(f"the {name} logger is not installed: pip install {name}.") from error
    return loggers


def _precision(recipe: Recipe) -> Any:
    if recipe.training.precision is not None:
        return recipe.training.precision
    return "bf16-mixed" if torch.cuda.is_available() else "32-true"


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide Lightning's advice on loaders and hardware; errors are exceptions and stay."""
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
