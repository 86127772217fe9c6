"""Callbacks: what is written during training, and how training can be stopped.

Checkpoints keep a callback's state under the name of its class, so the classes must keep their names.
"""

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
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, WeightAveraging
from torch import Tensor

from tagformer.data.loader.loader import TrainingLoader
from tagformer.errors import TagformerError, TrainingInterruptedError
from tagformer.files import atomic_write
from tagformer.training.checkpoints import RESTART
from tagformer.training.module import ACCURACY, MONITOR

COLUMNS = ("epoch", "step", "lr", "loss", "val_loss", "val_mAP", "val_CF1", "val_OF1", "seconds")


class Position(Callback):
    """Gives the training loader its epoch, and its position in the epoch for the checkpoints."""

    def __init__(self, loader: TrainingLoader) -> None:
        self.loader = loader

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.loader.batches.set_epoch(trainer.current_epoch)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.loader.position = (trainer.current_epoch, args[-1] + 1)


class History(Callback):
    """Writes ``history.csv``, one row per epoch, and reports each row, and where a resumed run starts.

    Args:
        path: of the file.
        message: called with lines of text.
        epoch: called with each row.

    Attributes:
        started: whether training has begun, and a checkpoint, if there is one, was restored.
    """

    def __init__(self, path: Path, message: Callable[[str], None], epoch: Callable[[dict[str, Any]], None]) -> None:
        self.path = path
        self.message = message
        self.epoch = epoch
        self.rows: list[dict[str, Any]] = []
        self.started = False
        self._began = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = True
        self._began = time.monotonic()
        if trainer.global_step:
            self.message(f"Resuming at epoch {trainer.current_epoch + 1}, step {trainer.global_step}.")

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
        with (
            atomic_write(self.path, make_folder=False) as temporary,
            temporary.open("w", newline="") as stream,
        ):
            writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(
                {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}
                for row in self.rows
            )
        self.epoch(row)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]


class BestCheckpoint(Checkpoint):
    """Writes ``best.ckpt`` and its weights, the averaged ones with EMA, whenever the validation figure improves.

    Args:
        path: of the checkpoint.
        weights: called with the state dict to keep.
        always: keep every epoch's weights, whatever its figure, also without validation.
        monitor: the figure: mAP or accuracy.
    """

    def __init__(
        self, path: Path, weights: Callable[[dict[str, Tensor]], None], always: bool = False, monitor: str = "mAP"
    ) -> None:
        super().__init__()
        self.always = always
        self.monitor = monitored(monitor)
        self.path = path
        self.weights = weights
        self.best = -math.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = trainer.callback_metrics[self.monitor].item()
        if score > self.best or self.always:
            self.best = score
            self._write(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.always and not trainer.num_val_batches:  # without validation on_validation_end is not called
            self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.weights(torch.load(self.path, map_location="cpu", weights_only=True)["state_dict"])

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


class Patience(EarlyStopping):
    """Lightning's early stopping on the validation figure; a run that was stopped early does not go on when resumed."""

    def __init__(self, epochs: int, monitor: str = "mAP") -> None:
        super().__init__(monitored(monitor), mode="max", patience=epochs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stopped_epoch:
            trainer.should_stop = True


class MovingAverage(WeightAveraging):
    """The exponential moving average of the weights, as `EMAWeightAveraging` of Lightning computes it.

    Weights that do not change keep their last bit, so that a frozen backbone stays the one whose features are
    remembered; Lightning's drift by rounding.

    Args:
        decay: the share of the average that stays at each step.
    """

    def __init__(self, decay: float) -> None:
        def averaged(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
            return torch.lerp(average, current, 1 - decay) if average.is_floating_point() else current

        super().__init__(avg_fn=averaged)

    @property
    def state_key(self) -> str:
        """Its name in checkpoints: that of Lightning's class, which earlier versions used."""
        return "EMAWeightAveraging"


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` after every epoch, at intervals within an epoch, and when a signal stops training.

    Within an epoch it writes only between optimizer steps, when no gradient is partly accumulated.

    Args:
        path: of the checkpoint; it is replaced in one step.
        minutes, steps: how often to write within an epoch, in minutes or in optimizer steps.
        run_id: of the run; it is kept in the checkpoints, and a checkpoint of another run is rejected.
    """

    def __init__(self, path: Path, minutes: float, steps: int | None, run_id: str | None = None) -> None:
        super().__init__()
        self.path = path
        self.run_id = run_id
        self.seconds = 60 * minutes
        self.steps = steps
        self.stopping = False
        self._written = time.monotonic()

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Within this context Ctrl-C and SIGTERM stop training after the current batch, with a checkpoint."""
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:
            raise KeyboardInterrupt  # a second signal stops at once
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

    def state_dict(self) -> dict[str, Any]:
        return {} if self.run_id is None else {"run": self.run_id}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if None not in (self.run_id, state_dict.get("run")) and state_dict["run"] != self.run_id:
            raise TagformerError(f"{self.path} is a checkpoint of another run: {RESTART}.")

    def _write(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._written = time.monotonic()
        if self.stopping:
            raise TrainingInterruptedError(
                f"stopped at epoch {trainer.current_epoch + 1}, step {trainer.global_step}; the checkpoint is "
                f"{self.path}. Go on with: tagformer train --resume --out {shlex.quote(str(self.path.parent.parent))}"
            )


def monitored(monitor: str) -> str:
    """The logged name of the figure that a recipe's ``training.monitor`` names."""
    return ACCURACY if monitor == "accuracy" else MONITOR
