"""Metrics of decisions: precision, recall and F1 in the papers' variants, and the errors per image.

Pure functions on bool decisions (N, L) and labels (N, L) in {1, 0, -1}; entries with -1 count neither as right nor as
wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tagformer.labels.space import PRESENT, UNKNOWN

BLOCK = 1024  # images looked at at a time: sorting and counting take eight bytes an entry
Empty = Literal["left out", "zero", "nan"]


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision, recall and F1, per class and overall (CAT and C-Tran; fractions in [0, 1])."""

    CP: float
    CR: float
    CF1: float
    OP: float
    OR: float
    OF1: float
    macro_F1: float  # noqa: N815


UNDEFINED = PrecisionRecall(*[math.nan] * 7)


@dataclass(frozen=True)
class Counts:
    """float64 (L,) for every label: right predictions, all predictions, positives."""

    right: Tensor
    predicted: Tensor
    positive: Tensor

    @classmethod
    def of(cls, predicted: Tensor, labels: Tensor) -> Counts:
        """
        Raises:
            ValueError: the shapes differ.
        """
        if predicted.shape != labels.shape or predicted.ndim != 2:
            raise ValueError(f"decisions {tuple(predicted.shape)} and labels {tuple(labels.shape)} must both be (N, L)")
        present = labels == PRESENT
        chosen = predicted & (labels != UNKNOWN)
        return cls(*(_count(part, 0) for part in (chosen & present, chosen, present)))

    @property
    def precision(self) -> Tensor:
        """float64 (L,), 0 where nothing was predicted."""
        return self.right / self.predicted.clamp(min=1)

    @property
    def recall(self) -> Tensor:
        """float64 (L,), 0 where there is no positive."""
        return self.right / self.positive.clamp(min=1)

    @property
    def f1(self) -> Tensor:
        """float64 (L,), the harmonic mean of precision and recall; 0 where both are."""
        return 2 * self.right / (self.predicted + self.positive).clamp(min=1)


def precision_recall(
    predicted: Tensor,
    labels: Tensor,
    empty: Empty = "left out",
    class_f1: Literal["harmonic", "mean"] = "harmonic",
    never_predicted: Literal[0, 1] = 0,
) -> PrecisionRecall:
    """Per-class (CP, CR, CF1) and overall (OP, OR, OF1) precision, recall and F1, and macro-F1.

    CP and CR are means over the labels; a label that is never predicted has precision 0. CF1 is the harmonic mean of
    CP and CR, macro-F1 the mean of the labels' own F1; OP, OR and OF1 are taken over all decisions together.

    Args:
        predicted: bool (N, L).
        labels: (N, L) in {1, 0, -1}.
        empty: what becomes of labels without a positive: ``"left out"`` of the means, counted as ``"zero"``, or
            ``"nan"``: CR, CF1, macro-F1 and, where there is no positive at all, OR are undefined (ML-GCN).
        class_f1: ``"harmonic"``: CF1 as above. ``"mean"``: CF1 is the macro-F1 (ASL).
        never_predicted: how many predictions such a label adds to OP's denominator (1 in ML-GCN's code).

    Returns:
        Fractions; NaN throughout where no label has a positive and they are left out.

    Raises:
        ValueError: the shapes differ.
    """
    counts = Counts.of(predicted, labels)
    counted = counts.positive > 0 if empty == "left out" else torch.ones_like(counts.positive, dtype=torch.bool)
    if not counted.any():
        return UNDEFINED
    recalls, f1s = counts.recall, counts.f1
    if empty == "nan":
        recalls, f1s = (values.masked_fill(counts.positive == 0, math.nan) for values in (recalls, f1s))
    precision, recall, macro_f1 = (values[counted].mean().item() for values in (counts.precision, recalls, f1s))
    right, positives = counts.right.sum().item(), counts.positive.sum().item()
    predictions = counts.predicted.clamp(min=never_predicted).sum().item()
    overall_precision = right / predictions if predictions else 0.0
    overall_recall = right / positives if positives else (math.nan if empty == "nan" else 0.0)
    return PrecisionRecall(
        CP=precision,
        CR=recall,
        CF1=harmonic_mean(precision, recall) if class_f1 == "harmonic" else macro_f1,
        OP=overall_precision,
        OR=overall_recall,
        OF1=harmonic_mean(overall_precision, overall_recall),
        macro_F1=macro_f1,
    )


@dataclass(frozen=True)
class ImageScores:
    """How well whole images are tagged, as means over the images (fractions in [0, 1])."""

    subset_accuracy: float
    hamming_loss: float
    example_F1: float  # noqa: N815


def image_scores(predicted: Tensor, labels: Tensor) -> ImageScores:
    """Subset accuracy (every decision right), Hamming loss (the share of wrong decisions) and example-F1.

    An image without positives and without predictions has F1 1: there was nothing to find. Images without a single
    annotated label are left out; the Hamming loss is taken over all annotated entries together.

    Args:
        predicted: bool (N, L).
        labels: (N, L) in {1, 0, -1}.

    Returns:
        NaN throughout where nothing is annotated.
    """
    annotated = labels != UNKNOWN
    present = labels == PRESENT
    chosen = predicted & annotated
    wrong = _count(chosen != present, 1)
    some = annotated.any(1)
    if not some.any():
        return ImageScores(math.nan, math.nan, math.nan)
    right, size = _count(chosen & present, 1), _count(chosen, 1) + _count(present, 1)
    f1 = torch.where(size > 0, 2 * right / size.clamp(min=1), 1.0)
    return ImageScores(
        subset_accuracy=(wrong == 0)[some].double().mean().item(),
        hamming_loss=(wrong.sum() / torch.count_nonzero(annotated)).item(),
        example_F1=f1[some].mean().item(),
    )


def top_k(scores: Tensor, labels: Tensor, k: int, ties: Literal["first", "all"] = "first") -> Tensor:
    """bool (N, L): the k annotated labels of each image with the highest scores (all, where there are fewer).

    Args:
        scores, labels: (N, L).
        ties: ``"first"``: exactly k; of equal scores the label with the lower column is taken. ``"all"``: every label
            that scores as high as the k-th, so that there may be more (C-Tran).
    """
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    for rows in range(0, len(scores), BLOCK):
        annotated = labels[rows : rows + BLOCK] != UNKNOWN
        block = scores[rows : rows + BLOCK].masked_fill(~annotated, -torch.inf)
        if ties == "all":
            highest = block >= block.topk(min(k, block.shape[1]), dim=1).values[:, -1:]
        else:
            best = block.argsort(dim=1, descending=True, stable=True)[:, :k]
            highest = torch.zeros_like(annotated).scatter_(1, best, True)
        chosen[rows : rows + BLOCK] = highest & annotated
    return chosen


def _count(mask: Tensor, dim: int) -> Tensor:
    """float64: how many entries of a bool matrix (N, L) are True along a dimension; torch's sum first makes int64."""
    counts = [block.sum(dim) for block in mask.split(BLOCK)] or [mask.sum(dim)]
    return (torch.stack(counts).sum(0) if dim == 0 else torch.cat(counts)).double()


def harmonic_mean(a: float, b: float) -> float:
    """0 where both are 0, NaN where one is NaN."""
    return 2 * a * b / (a + b) if a + b > 0 else a + b
