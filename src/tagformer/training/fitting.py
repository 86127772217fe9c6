"""Training a recipe into a run folder, at once or in stages."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tagformer.errors import CannotWriteError, TrainingInterruptedError
from tagformer.features.store import DEFAULT_GB
from tagformer.recipes.recipe import Recipe
from tagformer.runs.lock import run_lock
from tagformer.runs.run import RECIPE
from tagformer.training.build import build
from tagformer.training.prepare import Prepared, Reporter, prepare
from tagformer.training.stages.staged import StagedTraining
from tagformer.training.train import Fitted, train


def fit(
    recipe: Recipe,
    out: Path,
    resume: bool = False,
    reporter: Reporter | None = None,
    cache_gb: float = DEFAULT_GB,
    minutes: float | None = None,
) -> Fitted:
    """Train `recipe` into the run folder `out`.

    Args:
        recipe: every setting; not changed.
        out: the run folder to write.
        resume: go on from ``checkpoints/last.ckpt`` if there is one; the result is the same as without the break.
        reporter: where to report progress; None: nowhere.
        cache_gb: the room for remembered features of frozen backbones, in 10^9 bytes; 0: nothing is remembered.
        minutes: the epochs, and in stages the views too, are planned for about this time, by what is measured on this
            machine; a run that goes on keeps its plan. None: they are the recipe's.

    Raises:
        TagformerError: the folder is in use, data or weights are missing, or training diverges.
        CannotWriteError: the disk is full, or the folder was removed.
        TrainingInterruptedError: Ctrl-C or SIGTERM, after a checkpoint was written.

    >>> from tagformer.recipes import load_recipe
    >>> from tagformer.training import fit
    >>> small = ["data.spec=scenes?images=12", "data.batch_size=6", "data.workers=0", "image.size=32"]
    >>> recipe = load_recipe("scenes-ctran").overridden([*small, "training.epochs=1"])
    >>> fitted = fit(recipe, Path("runs/small"))
    >>> (fitted.folder / "model.safetensors").is_file()
    True
    """
    reporter, began = reporter or Reporter(), time.monotonic()
    try:
        with run_lock(out):
            prepared = prepare(recipe, out, resume, reporter)
            if prepared.recipe.stages is not None:
                if minutes is not None and not resume:
                    prepared.recipe.stages.minutes = minutes
                return train_in_stages(prepared, reporter, cache_gb)
            built = build(prepared, reporter, cache_gb, None if minutes is None else began + 60 * minutes)
            return train(prepared, built, reporter)
    except CannotWriteError as error:
        if not (out / RECIPE).is_file():
            raise
        then = f"go on with: tagformer train --resume --out {shlex.quote(str(out))}"
        raise CannotWriteError(error.path, error.reason, error.remedy, then) from error


def train_in_stages(prepared: Prepared, reporter: Reporter, cache_gb: float) -> Fitted:
    """Train a run in stages; those that are done already are not repeated.

    Raises:
        TagformerError: another model than ``evidence``, or training diverges.
        TrainingInterruptedError: Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    if count := len(prepared.val):
        reporter.message(
            f"{count} images of the validation split are not used: folds of the training images take their place."
        )
    with _stoppable(prepared.folder):
        training = StagedTraining(prepared, reporter, cache_gb)
        try:
            if "head" not in training.record:
                training.train_heads()
        finally:
            training.room.remove()
        if "network" not in training.record:
            training.calibrate()
            _train_further(training, reporter)
    bad_images = frozenset({*training.bad_images, *prepared.train.left_out})
    return Fitted(prepared.folder, prepared.train, prepared.val, bad_images, [])


def _train_further(training: StagedTraining, reporter: Reporter) -> None:
    """The stages after the head."""
    if not training.can_compare:
        reporter.message(
            "None of the held-out images has a label, so it cannot be said whether other stages are better: the model "
            "is the head alone. With more images, or another training.seed, there may be one."
        )
        return
    training.train_cooccurrence()
    training.train_encoder()
    training.calibrate()
    training.plan_network()
    if training.settings.finetune:
        training.train_network()


@contextmanager
def _stoppable(folder: Path) -> Iterator[None]:
    """Within this context Ctrl-C and SIGTERM end with a sentence on how to go on.

    Raises:
        TrainingInterruptedError: Ctrl-C or SIGTERM.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except (KeyboardInterrupt, TrainingInterruptedError) as error:
        if not (folder / RECIPE).is_file():
            raise
        raise TrainingInterruptedError(
            "stopped; the stages that are done are kept. "
            f"Go on with: tagformer train --resume --out {shlex.quote(str(folder))}"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, previous)
