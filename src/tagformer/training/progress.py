"""Reports of how far an epoch is, where there is no progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

EVERY = 60.0  # seconds


class EpochProgress(Callback):
    """Reports about every minute how far the epoch is, and how long it will go on.

    Args:
        message: called with lines of text.
        every: seconds between two lines.
    """

    def __init__(self, message: Callable[[str], None], every: float = EVERY) -> None:
        self.message, self.every = message, every
        self._began = self._reported = time.monotonic()
        self._first: int | None = None  # batch of this epoch in this process, after a resumption not 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = self._reported = time.monotonic()
        self._first = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        now, done, batches = time.monotonic(), args[-1] + 1, int(trainer.num_training_batches)
        if self._first is None:
            self._first = done - 1
        if now - self._reported < self.every or done >= batches:
            return
        self._reported = now
        left = (now - self._began) / (done - self._first) * (batches - done)
        self.message(f"epoch {trainer.current_epoch + 1:>3}  batch {done} of {batches}, {duration(left)} left in it")


def duration(seconds: float) -> str:
    """A time to read.

    >>> duration(40), duration(720), duration(12_600)
    ('40 seconds', '12 minutes', '3.5 hours')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
