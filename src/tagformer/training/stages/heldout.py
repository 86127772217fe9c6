"""Figures on held-out images, by which a stage is kept or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tagformer.labels.masking import draw_known, draw_order
from tagformer.labels.space import PRESENT
from tagformer.metrics.ranking import average_precision
from tagformer.models.evidence import Evidence

SHARES = (0.0, 0.25, 0.5, 0.75)
BATCH = 128
FREQUENT, ENOUGH_LABELS = (10, 5, 2), 8


def mean_average_precision(logits: Tensor, labels: Tensor) -> float:
    """The mean over the labels with a positive of their average precision; NaN where no label has one.

    Args:
        logits: (N, L).
        labels: int8 (N, L); unknown ones do not count.

    >>> mean_average_precision(torch.tensor([[2.0], [1.0]]), torch.tensor([[0], [1]], dtype=torch.int8))
    0.5
    """
    return average_precision(logits, labels).nanmean().item()


def frequent(labels: Tensor) -> Tensor:
    """The labels by which stages and settings are compared, bool (L,).

    They have at least 10 positives, or, where that leaves fewer than eight labels, at least 5, 2 or 1: the average
    precision of a label with few positives is mostly chance.

    Args:
        labels: int8 (N, L).

    >>> labels = torch.tensor([[1, 1, 0]] * 4 + [[1, 0, 0]] * 6, dtype=torch.int8)  # with 10, 4 and no positives
    >>> frequent(labels).tolist()  # fewer than eight labels have two: all with a positive
    [True, True, False]
    """
    positives = (labels == PRESENT).sum(0)
    least = next((least for least in FREQUENT if (positives >= least).sum() >= ENOUGH_LABELS), 1)
    return positives >= least


def cross_validated(logits: Tensor, labels: Tensor, folds: Tensor) -> float:
    """The mean over the `frequent` labels of their average precision within the folds, weighted by their positives.

    Images of one fold are scored by the same heads. Across folds that is not so: a head that has not seen the positives
    of a rare label in a fold gives the images of that fold lower logits, which would count against the label.

    Args:
        logits: out-of-fold (N, L).
        labels: int8 (N, L).
        folds: int64 (N,).

    Returns:
        NaN where no label has a positive.

    >>> logits = torch.tensor([[2.0], [1.0], [-8.0], [-9.0]])  # the head of the second fold gives lower logits
    >>> labels = torch.tensor([[1], [0], [1], [0]], dtype=torch.int8)
    >>> cross_validated(logits, labels, folds=torch.tensor([0, 0, 1, 1]))
    1.0
    """
    numbers = folds.unique()
    per_fold = torch.stack([average_precision(logits[folds == fold], labels[folds == fold]) for fold in numbers])
    positives = torch.stack([(labels[folds == fold] == PRESENT).sum(0) for fold in numbers])
    per_label = (per_fold.nan_to_num(0.0) * positives).sum(0) / positives.sum(0)
    return per_label[frequent(labels)].mean().item()


@torch.inference_mode()
def decoded(model: Evidence, evidence_logits: Tensor, known: Tensor | None = None) -> Tensor:
    """The logits (N, L) of a model in evaluation mode, from evidence (N, L) and known labels (N, L).

    >>> from tagformer.models import create_model
    >>> model = create_model("evidence", ["cat", "dog"], "tiny", width=8).eval()  # untrained: the evidence itself
    >>> decoded(model, torch.tensor([[0.5, -2.0]]))
    tensor([[ 0.5000, -2.0000]])
    """
    parts = []
    for start in range(0, len(evidence_logits), BATCH):
        part = slice(start, start + BATCH)
        parts.append(model.decode(evidence_logits[part], None if known is None else known[part]).logits)
    return torch.cat(parts)


def known_curve(
    model: Evidence, evidence_logits: Tensor, labels: Tensor, ids: Sequence[str]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and labels of a fixed quarter of each image's labels with 0, 25, 50 and 75 % of the others known.

    Args:
        model: in evaluation mode.
        evidence_logits: (N, L) of images that were not trained on.
        labels: int8 (N, L).
        ids: of the images; the known labels are drawn from them, as `evaluate` does.

    Yields:
        For each share logits (N, L), and the labels int8 (N, L) of the quarter; the others are unknown.

    >>> from tagformer.models import create_model
    >>> model = create_model("evidence", ["cat", "dog"], "tiny", width=8).eval()  # untrained: known labels do not act
    >>> labels = torch.tensor([[1, 0], [0, 1]], dtype=torch.int8)
    >>> [mean_average_precision(*of_share) for of_share in known_curve(model, 2.0 * labels, labels, ids=["a", "b"])]
    [1.0, 1.0, 1.0, 1.0]
    """
    order = draw_order(ids, model.label_space)
    for share in SHARES:
        known, scored = draw_known(labels, order, share, "fixed")
        yield decoded(model, evidence_logits, known), scored
