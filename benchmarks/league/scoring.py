"""The figures of an entry: computed here for everybody, from predictions whose rows and columns are found by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from league.entries.exchange import KINDS
from league.sets import Data
from tagformer.errors import TagformerError
from tagformer.metrics.scores import Scores, evaluate


def read_predictions(path: Path, ids: Sequence[str], names: Sequence[str]) -> tuple[Tensor, str]:
    """Read an entry's predictions, in the order of these images and labels.

    Returns:
        float32 (N, L), and whether they are ``logits`` or ``probabilities``.

    Raises:
        TagformerError: the file is not in the common form; an image or a label is missing, unknown or there twice.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            (kind,) = (name for name in KINDS if name in content.files)
            values = torch.from_numpy(content[kind])
            rows, columns = content["ids"].tolist(), content["names"].tolist()
    except (OSError, ValueError, LookupError) as error:
        raise TagformerError(f"{path} has no predictions in the common form ({error}).") from error
    order = _order(rows, ids, f"{path}: image")
    return values[order][:, _order(columns, names, f"{path}: label")], kind


def _order(given: Sequence[str], wanted: Sequence[str], what: str) -> Tensor:
    """The positions in `given` of what is wanted; both must have the same elements, each once."""
    place = {name: number for number, name in enumerate(given)}
    if len(place) != len(given):
        twice = next(name for number, name in enumerate(given) if place[name] != number)
        raise TagformerError(f"{what} '{twice}' is there twice.")
    if different := sorted(set(given) ^ set(wanted)):
        raise TagformerError(f"{what} '{different[0]}' is {'unknown' if different[0] in place else 'missing'}.")
    return torch.tensor([place[name] for name in wanted], dtype=torch.int64)


def score(path: Path, data: Data) -> Scores:
    """The figures of an entry's predictions of the test split, over the labels that count."""
    values, kind = read_predictions(path, data.test.ids, data.test.label_space.names)
    labels = data.test.labels[:, data.scored]
    if kind == "probabilities":
        return evaluate(values[:, data.scored], labels, given="probabilities")
    return evaluate(values[:, data.scored], labels)
