"""Callbacks: where the run is written down, and how it can be stopped."""

from __future__ import annotations

import csv
import math
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from torch import Tensor

from tagformer.data.loader.loader import TrainingLoader
from tagformer.errors import TrainingInterruptedError
from tagformer.files import atomic_write
from tagformer.training.module import MONITOR

COLUMNS = ("epoch", "step", "lr", "loss", "val_loss", "val_mAP", "val_CF1", "val_OF1", "seconds")


class Position(Callback):
    """Tells the training loader which epoch it is in, and how far, for the checkpoints."""

    def __init__(self, loader: TrainingLoader) -> None:
        self.loader = loader

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.loader.batches.set_epoch(trainer.current_epoch)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.loader.position = (trainer.current_epoch, args[-1] + 1)


class History(Callback):
    """Writes ``history.csv``, a line an epoch, and says each line, and where a resumed run starts."""

    def __init__(self, path: Path, say: Callable[[str], None], say_epoch: Callable[[dict[str, Any]], None]) -> None:
        self.path = path
        self.say = say
        self.say_epoch = say_epoch
        self.rows: list[dict[str, Any]] = []
        self._began = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.monotonic()
        if trainer.global_step:
            self.say(f"Resuming at epoch {trainer.current_epoch + 1}, step {trainer.global_step}.")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        figures = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val_")}
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "lr": max(group["lr"] for group in trainer.optimizers[0].param_groups),
            "loss": pl_module.epoch_loss(),
            "seconds": time.monotonic() - self._began,
            **figures,
        }
        self.rows.append(row)
        with atomic_write(self.path) as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(
                {name: round(value, 6) if isinstance(value, float) else value for name, value in line.items()}
                for line in self.rows
            )
        self.say_epoch(row)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]


class BestCheckpoint(Checkpoint):
    """Writes ``best.ckpt`` and the weights in it, the averaged ones with EMA, whenever the validation mAP is better.

    Args:
        path: of the checkpoint.
        weights: called with the state dict to keep.
        always: take each epoch for better than those before it, whatever its mAP.
    """

    def __init__(self, path: Path, weights: Callable[[dict[str, Tensor]], None], always: bool = False) -> None:
        super().__init__()
        self.always = always
        self.path = path
        self.weights = weights
        self.best = -math.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = trainer.callback_metrics[MONITOR].item()
        if score > self.best or self.always:
            self.best = score
            _save(trainer, self.path)
            self.weights(torch.load(self.path, map_location="cpu", weights_only=False)["state_dict"])

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


class Patience(EarlyStopping):
    """Lightning's early stopping on the validation mAP; a run that it stopped stays stopped when it is resumed."""

    def __init__(self, epochs: int) -> None:
        super().__init__(MONITOR, mode="max", patience=epochs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stopped_epoch:
            trainer.should_stop = True


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` at the end of every epoch, every so often within one, and when a signal asks to stop.

    Within an epoch it writes only where no gradient is half accumulated. Signals are heard within `listening`.

    Args:
        path: of the checkpoint; it is replaced in one step.
        minutes, steps: how often to write within an epoch, by the clock or by optimizer steps.
    """

    def __init__(self, path: Path, minutes: float, steps: int | None) -> None:
        super().__init__()
        self.path = path
        self.seconds = 60 * minutes
        self.steps = steps
        self.stopping = False
        self._written = time.monotonic()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C and SIGTERM as a wish to stop at the next batch."""
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:
            raise KeyboardInterrupt  # the second time, at once
        self.stopping = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        done = args[-1] + 1
        if done % trainer.accumulate_grad_batches or done >= trainer.num_training_batches:
            return
        due = time.monotonic() - self._written > self.seconds
        if self.steps is not None:
            due = due or trainer.global_step % self.steps == 0
        if due or self.stopping:
            self._write(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        _save(trainer, self.path)
        self._written = time.monotonic()
        if self.stopping:
            raise TrainingInterruptedError(
                f"stopped at epoch {trainer.current_epoch + 1}, step {trainer.global_step}; everything so far is in "
                f"{self.path}. Go on with: tagformer train --resume --out {shlex.quote(str(self.path.parent.parent))}"
            )


def _save(trainer: Trainer, path: Path) -> None:
    with atomic_write(path) as temporary:
        trainer.save_checkpoint(temporary)
