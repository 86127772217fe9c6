"""Metrics of multi-label tagging: a pure functional core, other tools' conventions, and an accumulator around it."""

from tagformer.metrics.accumulator import MultiLabelScores
from tagformer.metrics.bootstrap import Interval, bootstrap_mAP, interval
from tagformer.metrics.calibration import Reliability, fit_temperature, reliability
from tagformer.metrics.decisions import (
    ImageScores,
    PrecisionRecall,
    image_scores,
    precision_recall,
    top_k,
)
from tagformer.metrics.groups import group_accuracy
from tagformer.metrics.protocols import PROTOCOLS, Protocol
from tagformer.metrics.ranking import area_under_roc, average_precision, precision_recall_curve
from tagformer.metrics.scores import Scores, evaluate, label_frequency_baseline
from tagformer.metrics.sizes import SIZES, average_precision_by_size
from tagformer.metrics.thresholds import Thresholds, tune_thresholds

__all__ = [
    "PROTOCOLS",
    "SIZES",
    "ImageScores",
    "Interval",
    "MultiLabelScores",
    "PrecisionRecall",
    "Protocol",
    "Reliability",
    "Scores",
    "Thresholds",
    "area_under_roc",
    "average_precision",
    "average_precision_by_size",
    "bootstrap_mAP",
    "evaluate",
    "fit_temperature",
    "group_accuracy",
    "image_scores",
    "interval",
    "label_frequency_baseline",
    "precision_recall",
    "precision_recall_curve",
    "reliability",
    "top_k",
    "tune_thresholds",
]
