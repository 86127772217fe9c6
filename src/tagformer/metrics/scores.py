"""All figures of one evaluation, by Tagformer's conventions or those of another tool."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.metrics.precision_recall_f1 import (
    UNDEFINED,
    ImageScores,
    PrecisionRecall,
    image_scores,
    precision_recall,
)
from tagformer.metrics.precision_recall_f1 import top_k as highest_labels
from tagformer.metrics.protocols import PROTOCOLS, Protocol
from tagformer.metrics.ranking import area_under_roc, average_precision


@dataclass(frozen=True)
class Scores:
    """The figures of one evaluation, as fractions in [0, 1]; NaN where a figure is not defined.

    Attributes:
        mAP: mean of the labels' average precisions; labels without a positive are left out (but see the protocol).
        average_precision: float64 (L,), NaN for labels without a positive (but see the protocol).
        auroc: float64 (L,), NaN for labels without a positive or a negative.
        all: precision, recall and F1 of the labels at or above the threshold.
        top: the same for the `top_k` highest labels of every image, whatever their scores.
        top_above: the same for those of the `top_k` highest labels that reach the threshold, as in CAT and C-Tran.
        image: subset accuracy, Hamming loss and example-F1 at the threshold, the same for every protocol.
        threshold: a probability; the mean where each label has its own threshold.
        images: the number of scored images.
        labels_scored: the number of labels that have a positive.

    >>> import torch
    >>> from tagformer.metrics import evaluate
    >>> scores = evaluate(torch.tensor([[3.0, -1.0], [-2.0, 4.0]]), torch.tensor([[1, 0], [0, 1]]))
    >>> scores.mAP, scores.all.CF1, scores.labels_scored
    (1.0, 1.0, 2)
    """

    mAP: float  # noqa: N815
    average_precision: Tensor
    auroc: Tensor
    all: PrecisionRecall
    top: PrecisionRecall
    top_above: PrecisionRecall
    image: ImageScores
    threshold: float
    top_k: int
    images: int
    labels_scored: int
    protocol: str

    @property
    def AUROC(self) -> float:  # noqa: N802
        """Mean of the labels' areas under the ROC curve; labels for which it is not defined are left out."""
        return self.auroc.nanmean().item()

    def to_dict(self, names: tuple[str, ...]) -> dict[str, Any]:
        """A dictionary that can be written as JSON, with the figures per label by name; NaN becomes None."""
        figures = {
            "mAP": self.mAP,
            **asdict(self.all),
            **{f"{key}_top{self.top_k}": value for key, value in asdict(self.top).items()},
            **{f"{key}_top{self.top_k}_above": value for key, value in asdict(self.top_above).items()},
            **asdict(self.image),
            "AUROC": self.AUROC,
        }
        per_label = {"average_precision": self.average_precision, "auroc": self.auroc}
        return {
            **{key: _finite(value) for key, value in figures.items()},
            "threshold": self.threshold,
            "images": self.images,
            "labels_scored": self.labels_scored,
            "protocol": self.protocol,
            **{
                key: {name: _finite(value) for name, value in zip(names, values.tolist(), strict=True)}
                for key, values in per_label.items()
            },
        }


def evaluate(
    logits: Tensor,
    labels: Tensor,
    protocol: str = "tagformer",
    threshold: float | Tensor | None = None,
    top_k: int = 3,
    scored: Tensor | None = None,
    given: Literal["logits", "probabilities"] = "logits",
) -> Scores:
    """Score logits (N, L) against labels (N, L) in {1, 0, -1}.

    Args:
        logits: they are ranked in their own precision, and their sigmoid is compared with the threshold. Pass float32:
            bfloat16 makes near logits equal.
        labels: entries with -1 are left out of every figure (but see the protocol).
        protocol: the conventions to follow, one of `PROTOCOLS`.
        threshold: the probability from which a label counts as predicted, or one per label (L,). None: the protocol's
            default, which is 0.5 for ``"tagformer"``.
        top_k: the number of an image's highest labels in the figures `top` and `top_above`.
        scored: bool (N, L), the entries to score. The others are left out; with the protocol ``"ctran"`` only of mAP.
            A label without a positive among the scored entries is left out, whatever the protocol.
        given: ``"probabilities"`` where the first argument has values between 0 and 1. This is never guessed.

    Raises:
        ValueError: the protocol is unknown, the shapes differ, a logit is NaN, or a probability is outside [0, 1].

    >>> import torch
    >>> from tagformer.metrics import evaluate
    >>> scores = evaluate(torch.tensor([[2.0, -1.0], [1.0, 3.0]]), torch.tensor([[1, 0], [0, 1]]))
    >>> scores.mAP, scores.all.OP, scores.image.subset_accuracy  # label 0 is wrongly predicted on the second image
    (1.0, 0.6666666666666666, 0.5)
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    rules = PROTOCOLS[protocol]
    logits, labels = torch.as_tensor(logits).detach().cpu(), torch.as_tensor(labels).cpu()
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    probabilities = logits if given == "probabilities" else torch.sigmoid(logits)
    if given == "probabilities" and not bool(((logits >= 0) & (logits <= 1)).all()):
        raise ValueError("probabilities must lie between 0 and 1: pass logits as logits, with given='logits'")
    ranked = probabilities.float() if rules.ranked == "probabilities" and given == "logits" else logits

    in_ranking = labels.masked_fill(labels == UNKNOWN, ABSENT) if rules.unknown == "absent" else labels
    in_counts = labels.masked_fill(labels == UNKNOWN, ABSENT) if rules.unknown_counts == "absent" else labels
    if scored is not None:
        in_ranking = in_ranking.masked_fill(~scored, UNKNOWN)
        in_counts = in_counts.masked_fill(~scored, UNKNOWN) if rules.scored_counts else in_counts

    limit = rules.threshold if threshold is None else threshold
    predicted = probabilities > limit if rules.strict else probabilities >= limit
    average_precisions = average_precision(ranked, in_ranking, rules.ties, rules.interpolation)
    labels_scored = int((~average_precisions.isnan()).sum())
    highest = highest_labels(ranked, in_counts, top_k, rules.top_ties)
    return Scores(
        mAP=_mean(average_precisions, rules, partial=scored is not None),
        average_precision=average_precisions,
        auroc=area_under_roc(ranked, in_ranking),
        all=_counted(predicted, in_counts, rules) if rules.decides else UNDEFINED,
        top=_counted(highest, in_counts, rules) if "any" in rules.top else UNDEFINED,
        top_above=_counted(highest & predicted, in_counts, rules) if "above" in rules.top else UNDEFINED,
        image=image_scores(predicted, in_counts),
        threshold=float(torch.as_tensor(limit, dtype=torch.float64).mean()),
        top_k=top_k,
        images=len(labels),
        labels_scored=labels_scored,
        protocol=protocol,
    )


def label_frequency_baseline(labels: Tensor) -> float:
    """The mAP of a tagger that gives all images the same scores: the mean share of positives of a label.

    Labels without a positive are left out.

    >>> import torch
    >>> from tagformer.metrics import label_frequency_baseline
    >>> label_frequency_baseline(torch.tensor([[1, 0], [0, 0], [0, 0], [1, 0]]))
    0.5
    """
    present = (labels == PRESENT).sum(0).double()
    annotated = (labels >= 0).sum(0).double()
    return (present / annotated)[present > 0].mean().item()


def _counted(predicted: Tensor, labels: Tensor, rules: Protocol) -> PrecisionRecall:
    return precision_recall(predicted, labels, rules.empty_counts, rules.class_f1, rules.never_predicted)


def _mean(values: Tensor, rules: Protocol, partial: bool) -> float:
    """mAP from the labels' average precisions (L,), some of which may be NaN."""
    if partial or rules.empty == "left out":
        return values.nanmean().item()
    return (values.nan_to_num(0) if rules.empty == "zero" else values).mean().item()


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
