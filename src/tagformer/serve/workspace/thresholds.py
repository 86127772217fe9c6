"""The labels of the page: how often each was answered, and what its threshold gives on the answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.runs.run import Run
from tagformer.serve.workspace.workspace import Workspace

GRID = tuple(round(step / 100, 2) for step in range(1, 100, 2))  # thresholds of a curve
MOST_CURVES = 400

Array = np.ndarray[Any, Any]


def label_table(workspace: Workspace) -> dict[str, Any]:
    """For each label how often it was answered, and its curve: [threshold, precision, recall] from low to high.

    The curves are of the probabilities with nothing known, on the answers and on the labels that the images have
    already. Labels with the most positives get theirs, where there are very many labels.
    """
    states = np.full((len(workspace.pictures), len(workspace.names)), UNKNOWN, dtype=np.int8)
    states[: len(workspace.truth)] = workspace.truth
    counts = np.zeros((2, len(workspace.names)), dtype=int)
    for image, known in workspace.states().items():
        for label, state in known.items():
            states[image, label] = state
            counts[state, label] += 1
    probabilities = workspace.looking.probabilities.astype(np.float32)
    states = states[: len(probabilities)]
    seen = ~np.isnan(probabilities).any(1)
    positives = (states[seen] == PRESENT).sum(0)
    curves = set(np.argsort(-positives, kind="stable")[:MOST_CURVES].tolist())
    rows = [
        {
            "label": label,
            "yes": int(counts[PRESENT, label]),
            "no": int(counts[ABSENT, label]),
            "curve": threshold_curve(probabilities[seen, label], states[seen, label]) if label in curves else None,
        }
        for label in range(len(workspace.names))
    ]
    own = int((workspace.truth >= 0).any(1).sum())
    answered = f"{int(counts.sum()):,} answers"
    of_data = f" and the labels that {own:,} images have already" if own else ""
    source = f"Precision and recall are those on {answered}{of_data}, with nothing known."
    return {"labels": rows, "source": source}


def threshold_curve(probabilities: Array, states: Array) -> list[tuple[float, float | None, float | None]]:
    """(threshold, precision, recall) of one label; None where nothing is predicted or present.

    Args:
        probabilities: (N,).
        states: int8 (N,) in {1, 0, -1}; unknown ones do not count.

    >>> curve = threshold_curve(np.array([0.9, 0.6, 0.2]), np.array([1, 0, -1]))
    >>> [point for point in curve if point[0] in (0.51, 0.71, 0.95)]
    [(0.51, 0.5, 1.0), (0.71, 1.0, 1.0), (0.95, None, 0.0)]
    """
    known = states >= 0
    probabilities, present = probabilities[known], states[known] == PRESENT
    total = int(present.sum())
    points: list[tuple[float, float | None, float | None]] = []
    for threshold in GRID:
        predicted = probabilities >= threshold
        right, count = int((predicted & present).sum()), int(predicted.sum())
        precision = round(right / count, 4) if count else None
        points.append((threshold, precision, round(right / total, 4) if total else None))
    return points


def set_threshold(workspace: Workspace, run: Run, label: int, threshold: float) -> str:
    """Use another threshold of a label from now on, also after a restart; the new version of the model.

    Raises:
        TagformerError: there is no such label, or it is an extra one, which is not predicted.
        CannotWriteError: the run folder cannot be written.
    """
    name, engine = workspace.column(label), workspace.engine
    tagger = engine.model.tagger
    if not tagger.label_space.is_target[label]:
        raise TagformerError(f"'{name}' is an extra label: an input only, so it has no threshold.")
    thresholds = tagger.thresholds.clone()
    thresholds[label] = threshold
    run.save_thresholds(torch.as_tensor(thresholds), tagger.temperature)
    tagger.thresholds = thresholds
    engine.replace_model(tagger)
    workspace.looking.version = engine.model.version  # the probabilities are the same
    return engine.model.version
