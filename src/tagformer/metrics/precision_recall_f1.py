"""Metrics of decisions: precision, recall and F1 in the papers' variants, and figures of whole images.

Pure functions of bool decisions (N, L) and labels (N, L) in {1, 0, -1}; entries with -1 are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tagformer.labels.space import PRESENT, UNKNOWN

BLOCK = 1024  # images per step, because sorting and counting need 8 bytes per entry
Empty = Literal["left out", "zero", "nan"]


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision, recall and F1 as fractions in [0, 1], in the variants of CAT and C-Tran.

    Attributes:
        CP, CR, CF1: means over the labels ("per class").
        OP, OR, OF1: over all decisions together ("overall").
        macro_F1: mean of the labels' F1.

    >>> import torch
    >>> from tagformer.metrics import precision_recall
    >>> predicted = torch.tensor([[True, True], [True, False]])
    >>> figures = precision_recall(predicted, torch.tensor([[1, 1], [0, 0]]))
    >>> figures.CP, figures.CR, figures.OP
    (0.75, 1.0, 0.6666666666666666)
    """

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
    """Counts per label, float64 (L,): right predictions, all predictions, and positives."""

    right: Tensor
    predicted: Tensor
    positive: Tensor

    @classmethod
    def of(cls, predicted: Tensor, labels: Tensor) -> Counts:
        """Count the decisions (N, L) against labels (N, L).

        Raises:
            ValueError: the shapes differ.
        """
        if predicted.shape != labels.shape or predicted.ndim != 2:
            raise ValueError(f"decisions {tuple(predicted.shape)} and labels {tuple(labels.shape)} must both be (N, L)")
        present = labels == PRESENT
        counted = predicted & (labels != UNKNOWN)
        return cls(_count(counted & present, 0), _count(counted, 0), _count(present, 0))

    @property
    def precision(self) -> Tensor:
        """float64 (L,), 0 where the label is never predicted."""
        return self.right / self.predicted.clamp(min=1)

    @property
    def recall(self) -> Tensor:
        """float64 (L,), 0 where the label has no positive."""
        return self.right / self.positive.clamp(min=1)

    @property
    def f1(self) -> Tensor:
        """float64 (L,), the harmonic mean of precision and recall; 0 where both are 0."""
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
    CP and CR, macro-F1 the mean of the labels' F1. OP, OR and OF1 are taken over all decisions together.

    Args:
        predicted: bool (N, L).
        labels: (N, L) in {1, 0, -1}.
        empty: treatment of labels without a positive. ``"left out"``: of the means. ``"zero"``: counted as 0.
            ``"nan"``: CR, CF1, macro-F1 and, where no label has a positive, OR are NaN (ML-GCN).
        class_f1: ``"harmonic"``: CF1 as above. ``"mean"``: CF1 is the macro-F1 (ASL).
        never_predicted: the number that a label without a prediction adds to OP's denominator (1 in ML-GCN's code).

    Returns:
        Fractions; all NaN where no label has a positive and such labels are left out.

    Raises:
        ValueError: the shapes differ.

    >>> import torch
    >>> from tagformer.metrics import precision_recall
    >>> predicted = torch.tensor([[True, True], [True, False]])
    >>> scores = precision_recall(predicted, torch.tensor([[1, 1], [0, 1]]))
    >>> scores.CP, scores.CR, scores.OP  # precision 1/2 and 1, recall 1 and 1/2; two of three predictions are right
    (0.75, 0.75, 0.6666666666666666)
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
    """Figures of whole images, as means over the images; fractions in [0, 1].

    >>> import torch
    >>> from tagformer.metrics import image_scores
    >>> image_scores(torch.tensor([[True, False]]), torch.tensor([[1, 0]])).subset_accuracy
    1.0
    """

    subset_accuracy: float
    hamming_loss: float
    example_F1: float  # noqa: N815


def image_scores(predicted: Tensor, labels: Tensor) -> ImageScores:
    """Subset accuracy, Hamming loss and example-F1.

    Subset accuracy is the share of images with all decisions right. The Hamming loss is the share of wrong decisions
    among all annotated entries. Example-F1 is the mean F1 of an image; an image without positives and without
    predictions has F1 1. Images without any annotated label are left out.

    Args:
        predicted: bool (N, L).
        labels: (N, L) in {1, 0, -1}.

    Returns:
        All NaN where nothing is annotated.

    >>> import torch
    >>> from tagformer.metrics import image_scores
    >>> image_scores(torch.tensor([[True, True], [True, False]]), torch.tensor([[1, 1], [0, 0]]))
    ImageScores(subset_accuracy=0.5, hamming_loss=0.25, example_F1=0.5)
    """
    annotated = labels != UNKNOWN
    present = labels == PRESENT
    counted = predicted & annotated
    wrong = _count(counted != present, 1)
    scored_images = annotated.any(1)
    if not scored_images.any():
        return ImageScores(math.nan, math.nan, math.nan)
    right, size = _count(counted & present, 1), _count(counted, 1) + _count(present, 1)
    f1 = torch.where(size > 0, 2 * right / size.clamp(min=1), 1.0)
    return ImageScores(
        subset_accuracy=(wrong == 0)[scored_images].double().mean().item(),
        hamming_loss=(wrong.sum() / torch.count_nonzero(annotated)).item(),
        example_F1=f1[scored_images].mean().item(),
    )


def top_k(scores: Tensor, labels: Tensor, k: int, ties: Literal["first", "all"] = "first") -> Tensor:
    """Mark the k annotated labels of each image with the highest scores, or all of them where there are fewer.

    Args:
        scores, labels: (N, L).
        ties: ``"first"``: exactly k labels; of equal scores the lower column is taken. ``"all"``: also every label
            that scores as high as the k-th, so there may be more (C-Tran).

    Returns:
        bool (N, L).

    >>> import torch
    >>> from tagformer.metrics import top_k
    >>> top_k(torch.tensor([[0.9, 0.2, 0.7, 0.8]]), torch.tensor([[1, 0, 0, -1]]), k=2)
    tensor([[ True, False,  True, False]])
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
    """float64: the number of True entries of a bool matrix (N, L) along a dimension, in blocks of rows.

    torch's sum converts its whole argument to int64, which takes eight times the memory.
    """
    counts = [block.sum(dim) for block in mask.split(BLOCK)] or [mask.sum(dim)]
    return (torch.stack(counts).sum(0) if dim == 0 else torch.cat(counts)).double()


def harmonic_mean(a: float, b: float) -> float:
    """The harmonic mean; 0 where both are 0, NaN where one is NaN."""
    return 2 * a * b / (a + b) if a + b > 0 else a + b
