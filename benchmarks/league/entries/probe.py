"""The frozen probe: the pooled features of the network, and scikit-learn's logistic regression on them.

The one regularisation C of all labels is chosen by cross-validation on training images: it has the highest mean average
precision over the most frequent labels.
"""

from __future__ import annotations

import math
import time

import numpy as np
import numpy.typing as npt
import timm
import torch
from exchange import Task, write_predictions, write_report
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from tagformer.data.load import load_dataset
from tagformer.data.loader.loader import evaluation_loader
from tagformer.images.preprocessing import Preprocessing

Array = npt.NDArray[np.float32]
GRID, FOLDS, LABELS = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0), 5, 20


@torch.inference_mode()
def features_of(network: torch.nn.Module, task: Task, split: str) -> tuple[Array, list[str]]:
    """The pooled features (N, C) of a split, and the ids in their order."""
    preprocessing = Preprocessing(task.size, "squash", (task.mean,) * 3, (task.std,) * 3)
    rows, ids = [], []
    for batch in evaluation_loader(load_dataset(task.spec, split), preprocessing.transform, 32, 2):
        images = preprocessing.normalise(batch.images).contiguous(memory_format=torch.channels_last)
        rows.append(network(images))
        ids += batch.ids
    return torch.cat(rows).numpy(), ids


def logits_of(train: Array, targets: npt.NDArray[np.int8], test: Array, regularisation: float, seed: int) -> Array:
    """The logits (M,) of one label; those of its frequency where the training images do not differ in it."""
    count = int(targets.sum())
    if count in (0, len(targets)):
        return np.full(len(test), math.log((count + 0.5) / (len(targets) - count + 0.5)), dtype=np.float32)
    model = LogisticRegression(C=regularisation, max_iter=200, random_state=seed)
    return model.fit(train, targets).decision_function(test).astype(np.float32)


def choose_regularisation(train: Array, targets: npt.NDArray[np.int8], seed: int, parallel: Parallel) -> float:
    """The C of the grid with the highest mean average precision of the most frequent labels, cross-validated."""
    frequent = np.argsort(-targets.sum(0), kind="stable")[:LABELS]
    folds = list(KFold(FOLDS, shuffle=True, random_state=seed).split(train))
    jobs = [(c, label, fitted, left) for c in GRID for label in frequent for fitted, left in folds]
    logits = parallel(
        delayed(logits_of)(train[fitted], targets[fitted, label], train[left], c, seed)
        for c, label, fitted, left in jobs
    )
    precisions: dict[float, list[float]] = {c: [] for c in GRID}
    for (c, label, _, left), values in zip(jobs, logits, strict=True):
        if targets[left, label].any():
            precisions[c].append(average_precision_score(targets[left, label], values))
    return max(GRID, key=lambda c: float(np.mean(precisions[c])) if precisions[c] else 0.0)


def main() -> None:
    """Compute the features, choose C, fit every label and predict."""
    task = Task.of_command_line()
    source = {"file": task.weights}
    network = timm.create_model(task.network, pretrained=True, pretrained_cfg_overlay=source, num_classes=0)
    network = network.eval().to(memory_format=torch.channels_last)
    train, ids = features_of(network, task, "train")
    row = {image: number for number, image in enumerate(task.train_ids)}
    targets = task.targets()[[row[image] for image in ids]]
    began = time.monotonic()
    test, test_ids = features_of(network, task, "test")
    seconds = time.monotonic() - began
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    parallel = Parallel(n_jobs=-1)
    c = choose_regularisation(train, targets, task.seed, parallel)
    columns = parallel(
        delayed(logits_of)(train, targets[:, label], test, c, task.seed) for label in range(len(task.names))
    )
    write_predictions(task.predictions, test_ids, task.names, np.stack(columns, axis=1))
    how = f"C {c:g} of {FOLDS}-fold cross-validation, {train.shape[1]} features"
    write_report(task, how, seconds, len(train), ["scikit-learn", "timm", "torch"])


if __name__ == "__main__":
    main()
