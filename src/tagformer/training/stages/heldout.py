"""Figures on held-out images, by which a stage is kept or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.labels.masking import draw_known, draw_order
from tagformer.labels.space import PRESENT, without_extra
from tagformer.metrics.ranking import average_precision
from tagformer.models.evidence import Evidence
from tagformer.training.stages.record import Stage

SHARES = (0.0, 0.25, 0.5, 0.75)
BATCH = 128
FREQUENT = 10  # positives from which a label counts fully


def mean_average_precision(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> float:
    """The weighted mean over the labels with a positive of their average precision; NaN where no label has one.

    Args:
        logits: (N, L).
        labels: int8 (N, L); unknown ones do not count.
        weights: (L,); None: all are the same.

    >>> mean_average_precision(torch.tensor([[2.0], [1.0]]), torch.tensor([[0], [1]], dtype=torch.int8))
    0.5
    """
    precisions = average_precision(logits, labels)
    weights = torch.ones_like(precisions) if weights is None else weights.to(precisions)
    weights = weights * ~precisions.isnan()
    return ((precisions.nan_to_num() * weights).sum() / weights.sum()).item()


def label_weights(labels: Tensor) -> Tensor:
    """By how much each label counts where stages and settings are compared, float (L,): by its positives, up to ten.

    The average precision of a label with few positives is mostly chance; but rare labels matter, too, and there may be
    hundreds of them.

    Args:
        labels: int8 (N, L).

    >>> labels = torch.tensor([[1, 1, 0]] * 4 + [[1, 0, 0]] * 8, dtype=torch.int8)  # with 12, 4 and no positives
    >>> label_weights(labels)
    tensor([1.0000, 0.4000, 0.0000])
    """
    return (labels == PRESENT).sum(0).clamp(max=FREQUENT) / FREQUENT


def some_labels(labels: Tensor, most: int, seed: int = 0) -> Tensor:
    """At most `most` columns, int64, drawn among the labels with at least four positives, or the most there are.

    Args:
        labels: int8 (N, L).
        most: how many.
        seed: of the draw.

    >>> labels = torch.tensor([[1, 0, 1]] * 4, dtype=torch.int8)
    >>> some_labels(labels, most=2)
    tensor([0, 2])
    """
    positives = (labels == PRESENT).sum(0)
    enough = (positives >= min(4, int(positives.max()))).nonzero().flatten()
    drawn = torch.randperm(len(enough), generator=torch.Generator().manual_seed(seed))[:most]
    return enough[drawn.sort().values]


def precisions_within_folds(logits: Tensor, labels: Tensor, folds: Tensor) -> Tensor:
    """The average precision within the folds, weighted by their positives, of each label, (L,); NaN without a positive.

    Images of one fold are scored by the same heads. Across folds that is not so: a head that has not seen the positives
    of a rare label in a fold gives the images of that fold lower logits, which would count against the label.

    Args:
        logits: out-of-fold (N, L).
        labels: int8 (N, L).
        folds: int64 (N,).

    >>> logits = torch.tensor([[2.0], [1.0], [-8.0], [-9.0]])  # the head of the second fold gives lower logits
    >>> labels = torch.tensor([[1], [0], [1], [0]], dtype=torch.int8)
    >>> precisions_within_folds(logits, labels, folds=torch.tensor([0, 0, 1, 1])).tolist()
    [1.0]
    """
    numbers = folds.unique()
    per_fold = torch.stack([average_precision(logits[folds == fold], labels[folds == fold]) for fold in numbers])
    positives = torch.stack([(labels[folds == fold] == PRESENT).sum(0) for fold in numbers])
    return (per_fold.nan_to_num(0.0) * positives).sum(0) / positives.sum(0)


def cross_validated(logits: Tensor, labels: Tensor, folds: Tensor) -> float:
    """The mean of `precisions_within_folds` by `label_weights`; NaN where no label has a positive.

    >>> labels, folds = torch.tensor([[1], [0], [1], [0]], dtype=torch.int8), torch.tensor([0, 0, 1, 1])
    >>> cross_validated(torch.tensor([[2.0], [1.0], [-9.0], [-8.0]]), labels, folds)
    0.75
    """
    weights = label_weights(labels)
    return ((precisions_within_folds(logits, labels, folds).nan_to_num() * weights).sum() / weights.sum()).item()


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


class HeldOut:
    """The held-out images of a run: what a stage reaches on them.

    Args:
        dataset: the training images.
        rows: those that are held out, int64.

    Attributes:
        labels: int8 (H, L) of them.
        ids: of them.
        weights: of the labels in all figures, (L,): `label_weights`, and 0 for extra ones.

    >>> import tagformer
    >>> dataset = tagformer.load_dataset("scenes?images=40")
    >>> held_out = HeldOut(dataset, rows=torch.arange(10))
    >>> held_out.of_logits("perfect", 2.0 * held_out.labels - 1).score
    1.0
    """

    def __init__(self, dataset: MultiLabelDataset, rows: Tensor) -> None:
        self.rows, self.label_space = rows, dataset.label_space
        self.labels = dataset.label_rows[rows.tolist()]
        self.ids = [dataset.ids[row] for row in rows.tolist()]
        self.weights = label_weights(without_extra(self.labels, self.label_space))

    def of_logits(
        self, name: str, logits: Tensor, columns: Tensor | None = None, seconds: float = 0.0, kept: bool = True
    ) -> Stage:
        """The figures of logits that known labels do not change.

        Args:
            name: of the stage.
            logits: of the held-out images (H, L), or (H, C) of some labels.
            columns: int64 (C,), those labels; None: all.
            seconds, kept: of the stage.
        """
        columns = torch.arange(len(self.label_space)) if columns is None else columns
        _, quarter = draw_known(self.labels, draw_order(self.ids, self.label_space), 0.0, "fixed")
        mAP, fixed = (  # noqa: N806
            mean_average_precision(logits, labels[:, columns], self.weights[columns])
            for labels in (self.labels, quarter)
        )
        return Stage(name, mAP, (fixed,) * len(SHARES), seconds, kept)

    def of_model(self, name: str, model: Evidence, evidence_logits: Tensor) -> Stage:
        """The figures of a model, from the evidence (H, L) of the held-out images; it is moved to the CPU."""
        model.cpu().eval()
        pairs = [(decoded(model, evidence_logits), self.labels)]
        pairs += known_curve(model, evidence_logits, self.labels, self.ids)
        mAP, *curve = (mean_average_precision(*pair, self.weights) for pair in pairs)  # noqa: N806
        return Stage(name, mAP, tuple(curve))
