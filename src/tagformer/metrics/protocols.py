"""The evaluation conventions of other tools, as data: choose the tool whose published figures you compare with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tagformer.metrics.precision_recall_f1 import Empty
from tagformer.metrics.ranking import Interpolation, Ties


@dataclass(frozen=True)
class Protocol:
    """The evaluation conventions of one tool. The defaults are Tagformer's; `docs/metrics.md` explains them.

    Attributes:
        ranked: the ranked values: the logits, or their sigmoid in float32, which makes large logits equal.
        ties, interpolation: see `average_precision`.
        empty: labels without a positive are left out of mAP, count as 0, or make mAP NaN.
        unknown: the meaning of -1 in the ranking.
        unknown_counts: the meaning of -1 in precision and recall.
        threshold: the tool's default threshold, a probability.
        strict: True where a probability equal to the threshold does not count as predicted.
        decides: False where the tool reports no precision and recall.
        empty_counts, class_f1, never_predicted: see `precision_recall`.
        top: which of the k highest labels count as predicted: all (``"any"``), or only those above the threshold
            (``"above"``); each is a figure. Empty where the tool has neither.
        top_ties: see `top_k`.
        scored_counts: True where `scored` of `evaluate` restricts precision and recall too, not only mAP.

    >>> from tagformer.metrics import PROTOCOLS
    >>> PROTOCOLS["asl"].threshold
    0.8
    """

    ranked: Literal["logits", "probabilities"] = "logits"
    ties: Ties = "grouped"
    interpolation: Interpolation = "none"
    empty: Empty = "left out"
    unknown: Literal["left out", "absent"] = "left out"
    unknown_counts: Literal["left out", "absent"] = "left out"
    threshold: float = 0.5
    strict: bool = False
    decides: bool = True
    empty_counts: Empty = "left out"
    class_f1: Literal["harmonic", "mean"] = "harmonic"
    never_predicted: Literal[0, 1] = 0
    top: tuple[Literal["any", "above"], ...] = ("any", "above")
    top_ties: Literal["first", "all"] = "first"
    scored_counts: bool = True


PROTOCOLS = {
    "tagformer": Protocol(),
    # util.py, AveragePrecisionMeter; CAT follows it
    "mlgcn": Protocol(
        ties="first",
        empty="nan",  # their code divides by zero
        unknown_counts="absent",
        empty_counts="nan",
        never_predicted=1,
        top=("above",),
    ),
    # train.py and validate.py
    "asl": Protocol(
        ranked="probabilities",
        ties="last",
        empty="zero",
        threshold=0.8,
        strict=True,
        empty_counts="zero",
        class_f1="mean",
        top=(),
    ),
    "ctran": Protocol(
        ranked="probabilities",
        empty="zero",
        unknown="absent",
        unknown_counts="absent",
        empty_counts="zero",
        top=("above",),
        top_ties="all",
        scored_counts=False,
    ),
    "query2label": Protocol(
        ranked="probabilities", ties="first", interpolation="area", empty="nan", decides=False, top=()
    ),
    "mmpretrain": Protocol(
        ranked="probabilities", ties="first", empty="zero", empty_counts="zero", class_f1="mean", top=("any",)
    ),
}
# MlTr (section 4.1) follows ASL's code, but predicts the labels whose score is greater than 0.5.
PROTOCOLS["mltr"] = replace(PROTOCOLS["asl"], threshold=0.5)
