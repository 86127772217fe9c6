"""The common form of all entries: a task is read from JSON, test predictions and a report are written.

This file needs numpy only, for it is also run in the environments of the rivals.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

KINDS = ("logits", "probabilities")


@dataclass(frozen=True)
class Task:
    """What an entry has to do.

    Attributes:
        set, entry: their names in the league.
        spec: the data in Tagformer's form, ``format:path``.
        names: the L labels.
        train_ids, train_paths: the N training images.
        train_labels: for each training image the columns of its present labels.
        test_ids, test_paths: the test images; their labels are not part of the task.
        size: pixels per side.
        network, weights: a name of timm, and a local file of its weights.
        mean, std: that the weights expect, the same for every channel.
        seed: of every random draw.
        minutes: from the start of the process to the trained model.
        started: seconds of `time.time` at which the process was started.
        folder: an empty folder to work in.
        pace: a file in which an entry may keep how long things take on this machine.
        predictions, report: the files to write.
    """

    set: str
    entry: str
    spec: str
    names: list[str]
    train_ids: list[str]
    train_paths: list[str]
    train_labels: list[list[int]]
    test_ids: list[str]
    test_paths: list[str]
    size: int
    network: str
    weights: str
    mean: float
    std: float
    seed: int
    minutes: float
    started: float
    folder: str
    pace: str
    predictions: str
    report: str

    @classmethod
    def of_command_line(cls) -> Task:
        """The task whose JSON file is the only argument of the program."""
        return cls(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

    @property
    def seconds_left(self) -> float:
        """How much of the time is left."""
        return self.started + 60 * self.minutes - time.time()

    def targets(self) -> npt.NDArray[np.int8]:
        """The training labels as int8 (N, L), 1 present and 0 absent."""
        targets = np.zeros((len(self.train_ids), len(self.names)), dtype=np.int8)
        for row, columns in enumerate(self.train_labels):
            targets[row, columns] = 1
        return targets

    def held_out(self) -> npt.NDArray[np.bool_]:
        """bool (N,): the tenth of the training images by which a rival chooses or watches its epochs."""
        order = np.random.default_rng(self.seed).permutation(len(self.train_ids))
        chosen = np.zeros(len(order), dtype=bool)
        chosen[order[: max(1, round(len(order) / 10))]] = True
        return chosen


def write_predictions(
    path: str | Path,
    ids: Sequence[str],
    names: Sequence[str],
    values: npt.NDArray[Any],
    kind: Literal["logits", "probabilities"] = "logits",
) -> None:
    """Write test predictions (N, L) with the images' ids and the labels' names, in any order.

    Raises:
        ValueError: a shape that does not fit, an unknown kind, or a value that is not a number.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if values.shape != (len(ids), len(names)):
        raise ValueError(f"{kind} of shape {values.shape} for {len(ids)} images and {len(names)} labels")
    if np.isnan(values).any():
        raise ValueError(f"some {kind} are not numbers")
    temporary = Path(f"{path}.{os.getpid()}.npz")
    np.savez_compressed(
        temporary, ids=np.array(ids, dtype=str), names=np.array(names, dtype=str), **{kind: values.astype(np.float32)}
    )
    temporary.replace(path)


def write_report(
    task: Task,
    how: str,
    predict_seconds: float,
    visits: float | None,
    packages: Sequence[str],
    uncounted_seconds: float = 0.0,
) -> None:
    """Write what the league cannot see from outside.

    Args:
        task: the task.
        how: what was chosen, in a few words.
        predict_seconds: the time of predicting the test images, which is not counted.
        visits: how many training images went through the network, each view and epoch counted; None: not known.
        packages: whose versions are kept.
        uncounted_seconds: other time that is not counted.
    """
    versions: Mapping[str, str] = {name: importlib.metadata.version(name) for name in packages}
    report = {
        "how": how,
        "predict_seconds": predict_seconds,
        "visits": visits,
        "uncounted_seconds": uncounted_seconds,
        "versions": versions,
    }
    Path(task.report).write_text(json.dumps(report), encoding="utf-8")
