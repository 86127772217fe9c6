"""LightlyTrain: ``train_image_classification`` with several labels, the same network and weights, its own defaults."""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightly_train
import numpy as np
import torch
from exchange import Task, write_predictions, write_report
from lightly_train._models.timm import timm as timm_models
from lightly_train._task_models.image_classification.train_model import ImageClassificationTrain
from safetensors.torch import load_file

BATCH, WARMUP, MEASURED = 16, 500, 5  # LightlyTrain's batch size and warm-up


def write_table(file: Path, paths: Sequence[str], labels: Sequence[Sequence[int]]) -> None:
    """Images and the numbers of their labels. LightlyTrain leaves out images that have none."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_path", "label"])
        writer.writerows([path, ",".join(map(str, columns))] for path, columns in zip(paths, labels, strict=True))


def train(task: Task, out: Path, steps: int) -> None:
    """Train for so many steps with the defaults; the warm-up is at most a tenth of the steps."""
    folder, triple = Path(task.folder), (task.mean,) * 3
    lightly_train.train_image_classification(
        out=out,
        model=f"timm/{task.network}",
        classification_task="multilabel",
        data={
            "train": folder / "train.csv",
            "val": folder / "val.csv",
            "classes": dict(enumerate(task.names)),
            "csv_label_type": "id",
        },
        steps=steps,
        batch_size=BATCH,
        precision="bf16-mixed" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "32-true",
        seed=task.seed,
        model_args={"backbone_weights": folder / "weights.pt", "lr_warmup_steps": min(WARMUP, steps // 10)},
        transform_args={"image_size": (task.size, task.size), "normalize": {"mean": triple, "std": (task.std,) * 3}},
        logger_args={"tensorboard": None},
    )


class Clock:
    """Note when the training and validation steps begin, while the block runs."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {"training_step": [], "validation_step": []}

    def __enter__(self) -> Clock:
        self.kept = {name: getattr(ImageClassificationTrain, name) for name in self.times}
        for name, method in self.kept.items():
            setattr(ImageClassificationTrain, name, self._noting(name, method))
        return self

    def __exit__(self, *_: object) -> None:
        for name, method in self.kept.items():
            setattr(ImageClassificationTrain, name, method)

    def _noting(self, name: str, method: Any) -> Any:
        def noting(model: Any, *arguments: Any, **options: Any) -> Any:
            self.times[name].append(time.monotonic())
            return method(model, *arguments, **options)

        return noting

    def seconds(self, name: str) -> float:
        """The median time of a step; the first is left out, for the loader starts with it."""
        times = self.times[name][1:]
        return statistics.median(later - earlier for earlier, later in pairwise(times))


def correct_the_features() -> None:
    """Let LightlyTrain use all of the network.

    Version 0.18 takes the maps before timm's last convolution, but makes a classifier for those behind it, so that a
    training of any EfficientNet ends with an error.
    """
    timm_models._get_forward_features_fn = lambda model: timm_models._forward_features


def planned_steps(task: Task) -> int:
    """As many steps as fit into the time that is left, from a short training that is thrown away."""
    began = time.monotonic()
    with Clock() as clock:
        train(task, Path(task.folder) / "pace", MEASURED)
    step = clock.seconds("training_step")
    rest = time.monotonic() - began - MEASURED * step  # the start, and the validation at the end
    return max(1, int((task.seconds_left - rest) / step))


def main() -> None:
    """Train for the time that is left, and predict the test images as the documentation does."""
    task = Task.of_command_line()
    folder, held_out = Path(task.folder), task.held_out()
    correct_the_features()
    torch.save(load_file(task.weights), folder / "weights.pt")
    for name, chosen in (("train", ~held_out), ("val", held_out)):
        rows = np.flatnonzero(chosen)
        paths, labels = [task.train_paths[row] for row in rows], [task.train_labels[row] for row in rows]
        write_table(folder / f"{name}.csv", paths, labels)
    steps = planned_steps(task)
    train(task, folder / "run", steps)
    model = lightly_train.load_model(folder / "run" / "exported_models" / "exported_best.pt")
    probabilities = np.zeros((len(task.test_ids), len(task.names)), dtype=np.float32)
    began = time.monotonic()
    for first in range(0, len(task.test_paths), 32):
        results = model.predict_batch(task.test_paths[first : first + 32], threshold=-1.0)
        for row, result in enumerate(results, first):
            probabilities[row, result["labels"].numpy()] = result["scores"].float().numpy()
    seconds = time.monotonic() - began
    write_predictions(task.predictions, task.test_ids, task.names, probabilities, "probabilities")
    how = f"{steps} steps of the whole network, batches of {BATCH}, its default learning rate"
    write_report(task, how, seconds, steps * BATCH, ["lightly-train", "timm", "torch"])


if __name__ == "__main__":
    main()
