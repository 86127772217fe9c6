"""All figures of one evaluation, and the batches that lead to them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tagformer.labels import PRESENT
from tagformer.metrics import functional
from tagformer.metrics.functional import PrecisionRecall, average_precision, precision_recall

PROTOCOLS = ("tagformer",)


@dataclass(frozen=True)
class Scores:
    """The figures of one evaluation, as fractions in [0, 1].

    Attributes:
        mAP: mean of the labels' average precisions, over the labels that have one; NaN where none has.
        average_precision: float64 (L,), NaN for labels without a positive.
        all: precision, recall and F1 of the labels at or above the threshold.
        top: the same for the `top_k` highest labels of every image, whatever their scores.
        images: how many images were scored.
        labels_scored: how many labels have a positive.
    """

    mAP: float  # noqa: N815
    average_precision: Tensor
    all: PrecisionRecall
    top: PrecisionRecall
    threshold: float
    top_k: int
    images: int
    labels_scored: int
    protocol: str

    def to_dict(self, names: tuple[str, ...]) -> dict[str, Any]:
        """A form for JSON, with each label's average precision by name; NaN becomes null."""
        return {
            "mAP": _finite(self.mAP),
            **{key: _finite(value) for key, value in asdict(self.all).items()},
            **{f"{key}_top{self.top_k}": _finite(value) for key, value in asdict(self.top).items()},
            "threshold": self.threshold,
            "images": self.images,
            "labels_scored": self.labels_scored,
            "protocol": self.protocol,
            "average_precision": {
                name: _finite(value) for name, value in zip(names, self.average_precision.tolist(), strict=True)
            },
        }


def evaluate(
    logits: Tensor, labels: Tensor, protocol: str = "tagformer", threshold: float = 0.5, top_k: int = 3
) -> Scores:
    """Score logits (N, L) against labels (N, L) in {1, 0, -1}.

    Args:
        logits: ranked as they are, in the precision they come in; their sigmoid meets the threshold.
        labels: entries with -1 are left out of every figure.
        protocol: whose conventions to follow.
        threshold: probability at or above which a label counts as predicted.
        top_k: size of the second set of predictions.

    Raises:
        ValueError: unknown protocol, shapes that differ, or NaN among the logits.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    logits, labels = logits.cpu(), labels.cpu()
    per_label = average_precision(logits, labels)
    predicted = torch.sigmoid(logits.double()) >= threshold
    return Scores(
        mAP=per_label.nanmean().item(),
        average_precision=per_label,
        all=precision_recall(predicted, labels),
        top=precision_recall(functional.top_k(logits, labels, top_k), labels),
        threshold=threshold,
        top_k=top_k,
        images=len(labels),
        labels_scored=int((~per_label.isnan()).sum()),
        protocol=protocol,
    )


def label_frequency_baseline(labels: Tensor) -> float:
    """mAP of a tagger that scores all images alike: the mean share of positives of the labels that have any."""
    present = (labels == PRESENT).sum(0).double()
    annotated = (labels >= 0).sum(0).double()
    return (present / annotated)[present > 0].mean().item()


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
