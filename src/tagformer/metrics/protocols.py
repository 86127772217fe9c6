"""How each tool's evaluation differs from ours, as data: pick the one whose published figures you compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tagformer.metrics.precision_recall import Empty
from tagformer.metrics.ranking import Interpolation, Ties


@dataclass(frozen=True)
class Protocol:
    """One tool's conventions. The defaults are ours; `docs/metrics.md` tells them in words.

    Attributes:
        ranked: what is ranked: the logits as they are, or their sigmoid in float32, where large ones become equal.
        ties, interpolation: of `average_precision`.
        empty: what becomes of labels without a positive in mAP: left out, 0, or NaN, and so is mAP.
        unknown: what -1 is in the ranking.
        unknown_counts: what -1 is in precision and recall.
        threshold: the tool's own, a probability.
        strict: a probability equal to the threshold is not predicted.
        decides: the tool has precision and recall at all.
        empty_counts, class_f1, never_predicted: of `precision_recall`.
        top: which of the k highest labels count as predicted: all (``"any"``), those above the threshold
            (``"above"``), or both figures; empty where the tool has no such figure.
        top_ties: of `top_k`.
        scored_counts: where only some entries are scored, precision and recall keep to them too.
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
    # train.py and validate.py; MlTr follows it
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
