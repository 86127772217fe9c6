"""``report.html``: one file that shows how good a run is, and where it fails."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader
from PIL import Image, ImageOps
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.evaluation.evaluate import Evaluation
from tagformer.evaluation.run_evaluation import SplitOfRun
from tagformer.images.reading import load_image
from tagformer.images.source import ImageSource
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.metrics.bootstrap import bootstrap_mAP, interval
from tagformer.metrics.calibration import reliability
from tagformer.metrics.precision_recall import Counts
from tagformer.metrics.ranking import precision_recall_curve
from tagformer.metrics.scores import evaluate
from tagformer.report import charts
from tagformer.report.mistakes import co_occurrence, confusions, worst_images
from tagformer.report.tables import Table, shown
from tagformer.runs.run import HISTORY, Run

FREQUENT = 20  # labels in the co-occurrence pictures
CURVES = 5  # labels with a precision-recall curve of their own colour
THUMBNAIL = 132  # pixels a side
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Report:
    """A report's page, and its tables for use elsewhere."""

    html: str
    scores: Table
    labels: Table


def build_report(
    run: Run,
    data: SplitOfRun,
    evaluation: Evaluation,
    pictured: int = 12,
    resamples: int = 1000,
    progress: Progress | None = None,
) -> Report:
    """Build a run's report.

    Args:
        data: what was evaluated; its images are shown.
        evaluation: under our own protocol; its figures are those of the page.
        pictured: how many labels, those with the lowest average precision, are shown with their worst images.
        resamples: of the bootstrap, for mAP's confidence interval.
        progress: called with the number of labels whose images are read.
    """
    targets = run.label_space.is_target
    thresholds = run.thresholds[targets]
    probabilities = torch.sigmoid(evaluation.logits / run.temperature)
    predicted = probabilities >= thresholds
    tuned = run.temperature != 1 or bool((thresholds != 0.5).any())
    resampled = bootstrap_mAP([evaluation.logits], evaluation.labels, resamples)[0]
    scores = _scores_table(evaluation, run.uncalibrated_thresholds[targets] if tuned else None)
    labels = _labels_table(evaluation, predicted, thresholds)
    page = {
        "run": run,
        "data": data,
        "evaluation": evaluation,
        "tuned": tuned,
        "mAP": interval(evaluation.regular.mAP, resampled),
        "tables": {
            "scores": scores,
            "labels": labels,
            "confusions": _confusions_table(evaluation, predicted),
            "sizes": _sizes_table(evaluation),
            "known": _known_table(evaluation),
        },
        "calibration_error": reliability(probabilities, evaluation.labels).expected_calibration_error,
        "charts": {
            "precision_recall": _precision_recall(evaluation),
            "co_occurrence": _co_occurrence(evaluation, predicted),
            "known": _known(evaluation),
            "training": _training(run.folder / HISTORY),
            "calibration": _calibration(probabilities, evaluation.labels),
        },
        "mistakes": _mistakes(data.dataset, evaluation, probabilities, thresholds, pictured, progress),
        "shown": shown,
    }
    environment = Environment(
        loader=PackageLoader("tagformer.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return Report(environment.get_template("report.html.j2").render(page), scores, labels)


def _scores_table(evaluation: Evaluation, thresholds: Tensor | None) -> Table:
    scores = evaluation.regular
    rows = [
        ("all, threshold 0.5", scores.all, scores.mAP),
        (f"top {scores.top_k}", scores.top, math.nan),
        (f"top {scores.top_k} above the threshold", scores.top_above, math.nan),
    ]
    if thresholds is not None:
        own = evaluate(evaluation.logits, evaluation.labels, threshold=thresholds)
        rows.append(("all, tuned thresholds", own.all, math.nan))
    header = ("%", "mAP", "CP", "CR", "CF1", "OP", "OR", "OF1", "macro-F1")
    return Table(
        "Scores",
        header,
        [(name, mAP, *(getattr(part, key.replace("-", "_")) for key in header[2:])) for name, part, mAP in rows],
        f"{scores.images} images, {scores.labels_scored} labels with a positive. CF1: harmonic mean of CP and CR.",
    )


def _labels_table(evaluation: Evaluation, predicted: Tensor, thresholds: Tensor) -> Table:
    counts = Counts.of(predicted, evaluation.labels)
    precision = counts.precision.masked_fill(counts.predicted == 0, math.nan)
    recall = counts.recall.masked_fill(counts.positive == 0, math.nan)
    figures = zip(
        evaluation.names,
        counts.positive.int().tolist(),
        evaluation.regular.average_precision.tolist(),
        precision.tolist(),
        recall.tolist(),
        thresholds.double().tolist(),
        strict=True,
    )
    rows = sorted(figures, key=lambda row: (math.isnan(row[2]), -row[2], row[0]))
    return Table(
        "Labels", ("label", "positives", "AP", "precision", "recall", "threshold"), rows, "Labels by average precision."
    )


def _confusions_table(evaluation: Evaluation, predicted: Tensor) -> Table:
    names = evaluation.names
    rows = [
        (names[found.predicted], names[found.present], found.images, found.share, found.missed)
        for found in confusions(predicted, evaluation.labels)
    ]
    header = ("predicted, but absent", "where this is present", "images", "% of such images", "this was missed")
    return Table("Confusions", header, rows)


def _sizes_table(evaluation: Evaluation) -> Table | None:
    if evaluation.sizes is None:
        return None
    positive = evaluation.labels == PRESENT
    counts = {size: int((positive & (evaluation.sizes == i)).sum()) for i, size in enumerate(evaluation.mAP_by_size, 1)}
    rows = [(size, counts[size], value) for size, value in evaluation.mAP_by_size.items()]
    return Table("Sizes", ("objects", "positives", "mAP"), rows)


def _known_table(evaluation: Evaluation) -> Table | None:
    if not evaluation.known:
        return None
    header = ("labels known", *(f"{point.known_share:.0%}" for point in evaluation.known))
    return Table("Known labels", header, [("mAP", *(point.mAP for point in evaluation.known))])


def _precision_recall(evaluation: Evaluation) -> str:
    """Everything together, and the labels from the best to the worst in steps."""
    logits, labels = evaluation.logits, evaluation.labels
    precisions = evaluation.regular.average_precision
    ranked = [i for i in precisions.argsort(descending=True).tolist() if not precisions[i].isnan()]
    if not ranked:
        return ""
    every = (len(ranked) - 1) / max(CURVES - 1, 1)
    chosen = list(dict.fromkeys(ranked[round(step * every)] for step in range(CURVES)))
    curves: dict[int, charts.Curve] = {}
    for column in ranked:
        precision, recall = _thinned(*precision_recall_curve(logits[:, column], labels[:, column]))
        curves[column] = (evaluation.names[column], recall, precision)
    precision, recall = _thinned(*precision_recall_curve(logits.flatten(), labels.flatten()))
    named = [("all entries together", recall, precision), *(curves[column] for column in chosen)]
    return charts.precision_recall_chart(named, [curves[column] for column in ranked if column not in chosen])


def _thinned(precision: Tensor, recall: Tensor, points: int = 200) -> tuple[list[float], list[float]]:
    """A curve with at most so many points, for a page that stays small."""
    kept = torch.linspace(0, len(recall) - 1, min(points, len(recall))).round().long()
    return precision[kept].tolist(), recall[kept].tolist()


def _co_occurrence(evaluation: Evaluation, predicted: Tensor) -> tuple[str, str]:
    """Of the most frequent labels: in truth, and as predicted."""
    present = evaluation.labels == PRESENT
    order = present.sum(0).argsort(descending=True, stable=True)[:FREQUENT]
    said = (predicted & (evaluation.labels != UNKNOWN))[:, order]
    names = [evaluation.names[i] for i in order.tolist()]
    pictures = [charts.matrix_chart(names, co_occurrence(states).numpy()) for states in (present[:, order], said)]
    return pictures[0], pictures[1]


def _known(evaluation: Evaluation) -> str:
    points = evaluation.known
    if not points:
        return ""
    return charts.known_chart([p.known_share for p in points], [p.mAP for p in points], [p.mAPs for p in points])


def _training(history: Path) -> tuple[str, str] | None:
    """The losses, and the validation mAP."""
    if not history.is_file():
        return None
    with history.open(newline="") as stream:
        rows = list(csv.DictReader(stream))

    def curve(title: str, key: str, factor: float = 1) -> charts.Curve:
        own = [(float(row["epoch"]), factor * float(row[key])) for row in rows if row.get(key)]
        return title, [epoch for epoch, _ in own], [value for _, value in own]

    losses = [curve("training", "loss"), curve("validation", "val_loss")]
    return charts.epochs_chart(losses, "loss", True), charts.epochs_chart(
        [curve("", "val_mAP", 100)], "validation mAP, %"
    )


def _calibration(probabilities: Tensor, labels: Tensor) -> str:
    curve = reliability(probabilities, labels)
    return charts.calibration_chart(curve.confidence.tolist(), curve.frequency.tolist(), curve.count.tolist())


def _mistakes(
    dataset: MultiLabelDataset,
    evaluation: Evaluation,
    probabilities: Tensor,
    thresholds: Tensor,
    count: int,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    """For the labels with the lowest average precision, their worst images."""
    row_of = {image_id: row for row, image_id in enumerate(dataset.ids)}
    precisions = evaluation.regular.average_precision.nan_to_num(2.0)
    worst = [column for column in precisions.argsort(stable=True).tolist() if precisions[column] <= 1][:count]
    shown_labels = []
    for number, column in enumerate(worst, start=1):
        found = worst_images(probabilities, evaluation.labels, column)
        pictures = {
            kind: [
                {
                    "id": evaluation.ids[row],
                    "picture": _picture(dataset.images[row_of[evaluation.ids[row]]]),
                    "probability": probabilities[row, column].item(),
                    "wrong": (probabilities[row, column] >= thresholds[column]).item() == (state == ABSENT),
                    "true": [
                        evaluation.names[i] for i in torch.nonzero(evaluation.labels[row] == PRESENT).flatten().tolist()
                    ],
                }
                for row in rows
            ]
            for kind, rows, state in (("surest", found.surest, ABSENT), ("missed", found.missed, PRESENT))
        }
        shown_labels.append({"name": evaluation.names[column], "AP": precisions[column].item(), **pictures})
        if progress:
            progress(number)
    return shown_labels


def _picture(source: ImageSource) -> str:
    """A small square JPEG as a data address."""
    image = load_image(source)
    small = ImageOps.fit(image, (THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
