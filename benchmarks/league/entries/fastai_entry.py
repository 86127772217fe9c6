"""fastai: ``vision_learner`` with the same network and weights, and ``fine_tune`` for as long as the time lasts."""

from __future__ import annotations

import statistics
import time
from functools import partial
from itertools import pairwise
from operator import getitem

import numpy as np
from exchange import Task, write_predictions, write_report
from fastai.vision.all import (
    Callback,
    CancelFitException,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    Learner,
    MultiCategoryBlock,
    Resize,
    ResizeMethod,
    aug_transforms,
    noop,
    set_seed,
    vision_learner,
)

RATE, MOST_FROZEN = 3e-3, 4  # the rate and the frozen epochs of the book's chapter on several labels
BATCH, SMALL_BATCH, ENOUGH, MEASURED = 64, 16, 640, 4  # fastai's batches; below 640 images an epoch would have few


class Pace(Callback):
    """Stop a training after a few batches, and keep when each of them ended."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.began = 0.0

    def before_train(self) -> None:
        """Note when the first epoch begins."""
        self.began = self.began or time.monotonic()

    def after_batch(self) -> None:
        """Note the time of a training batch, or stop."""
        if not self.training:
            return
        self.times.append(time.monotonic())
        if len(self.times) > MEASURED:
            raise CancelFitException

    def seconds(self) -> float:
        """The median time of a batch; the first is left out, for the loader starts with it."""
        return statistics.median(later - earlier for earlier, later in pairwise(self.times))

    def start(self) -> float:
        """How much longer the first batch of an epoch takes than the others, because of the loader."""
        return max(0.0, self.times[0] - self.began - self.seconds())


def learner(task: Task, batch: int) -> Learner:
    """A learner with the defaults of fastai, on images stretched to the square of the league.

    Its items are numbers: of the training images, then of the test images, which have no labels.
    """
    paths, targets = [*task.train_paths, *task.test_paths], task.targets().tolist()
    block = DataBlock(
        blocks=(ImageBlock, MultiCategoryBlock(encoded=True, vocab=task.names)),
        get_x=partial(getitem, paths),
        get_y=partial(getitem, targets),
        splitter=IndexSplitter(np.flatnonzero(task.held_out()).tolist()),
        item_tfms=Resize(task.size, method=ResizeMethod.Squish),
        batch_tfms=aug_transforms(),
    )
    loaders = block.dataloaders(range(len(task.train_paths)), bs=batch)
    return vision_learner(loaders, task.network, pretrained=True, pretrained_cfg_overlay={"file": task.weights})


def measured(task: Task, frozen: bool) -> tuple[float, float]:
    """Seconds of a training step for each image of its batch, and of a loader's start; the learner is thrown away."""
    trial, pace = learner(task, SMALL_BATCH), Pace()
    if frozen:
        trial.freeze()
    else:
        trial.unfreeze()
    with trial.no_bar(), trial.no_logging():
        while len(pace.times) <= MEASURED:  # an epoch of a small set has fewer batches
            trial.fit(1, cbs=pace)
    return pace.seconds() / SMALL_BATCH, pace.start()


def main() -> None:
    """Plan the epochs for the time that is left, train, and predict the test images."""
    task = Task.of_command_line()
    set_seed(task.seed)
    batch, images = BATCH if len(task.train_paths) >= ENOUGH else SMALL_BATCH, len(task.train_paths)
    (head, _), (everything, start) = measured(task, frozen=True), measured(task, frozen=False)
    set_seed(task.seed, reproducible=True)
    learn = learner(task, batch)
    trained, validation = len(learn.dls.train) * batch, len(learn.dls.valid_ds) * head + 2 * start
    frozen, whole = trained * head + validation, trained * everything + validation
    left = task.seconds_left
    epochs = max(0, int((left - frozen) / whole))
    head_epochs = max(1, int((left - epochs * whole) / frozen))
    with learn.no_bar():
        if epochs:
            head_epochs = min(head_epochs, MOST_FROZEN)
            learn.fine_tune(epochs, base_lr=RATE, freeze_epochs=head_epochs)
        else:
            learn.freeze()
            learn.fit_one_cycle(head_epochs, RATE)
        began = time.monotonic()
        logits, _ = learn.get_preds(dl=learn.dls.test_dl(range(images, images + len(task.test_paths))), act=noop)
        seconds = time.monotonic() - began
    write_predictions(task.predictions, task.test_ids, task.names, logits.numpy())
    how = f"{head_epochs} epochs of the head, {epochs} of the whole network, batches of {batch}, base_lr {RATE:g}"
    write_report(task, how, seconds, (head_epochs + epochs) * trained, ["fastai", "timm", "torch"])


if __name__ == "__main__":
    main()
