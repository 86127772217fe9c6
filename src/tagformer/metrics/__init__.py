"""Metrics: a pure functional core, and the figures of one evaluation."""

from tagformer.metrics.functional import PrecisionRecall, average_precision, precision_recall, top_k
from tagformer.metrics.scores import PROTOCOLS, Scores, evaluate, label_frequency_baseline

__all__ = [
    "PROTOCOLS",
    "PrecisionRecall",
    "Scores",
    "average_precision",
    "evaluate",
    "label_frequency_baseline",
    "precision_recall",
    "top_k",
]
