"""``report.html``: the figures of a run's evaluation and its worst mistakes, in one file."""

from __future__ import annotations

import base64
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
from tagformer.metrics.precision_recall_f1 import Counts
from tagformer.metrics.ranking import precision_recall_curve
from tagformer.metrics.scores import evaluate
from tagformer.report import charts
from tagformer.report.mistakes import co_occurrence, confusions, worst_images
from tagformer.report.tables import Table, shown
from tagformer.runs.history import read_history
from tagformer.runs.run import HISTORY, Run

FREQUENT = 20  # labels in the co-occurrence charts
CURVES = 5  # labels whose precision-recall curves are coloured
THUMBNAIL = 132  # pixels a side
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Report:
    """A report: the page, and two of its tables for use elsewhere.

    >>> from tagformer.report import Report, Table
    >>> table = Table("labels", ("label", "AP"), [("dog", "0.91")])
    >>> Report("<!doctype html>...", table, table).labels.header
    ('label', 'AP')
    """

    html: str
    scores: Table
    labels: Table


def build_report(
    run: Run,
    data: SplitOfRun,
    evaluation: Evaluation,
    worst_labels: int = 12,
    resamples: int = 1000,
    progress: Progress | None = None,
) -> Report:
    """Build the report of a run's evaluation.

    Args:
        run: the run.
        data: the evaluated data, whose images are shown.
        evaluation: the figures of the page, by the protocol ``"tagformer"``.
        worst_labels: the number of labels to show with their worst images, those with the lowest average precision.
        resamples: number of bootstrap resamples for the confidence interval of mAP.
        progress: called with the number of labels whose images have been read.

    >>> from tagformer.evaluation import evaluate_run, load_split
    >>> from tagformer.report import build_report
    >>> from tagformer.runs import Run
    >>> run = Run.load("runs/mine")
    >>> test = load_split(run)
    >>> len(build_report(run, test, evaluate_run(run, test), worst_labels=1, resamples=10).labels.rows)
    12
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
        "mAP": interval(evaluation.regular.mAP, resampled, lowest=0.0, highest=1.0),
        "tables": {
            "scores": scores,
            "labels": labels,
            "confusions": _confusions_table(evaluation, predicted),
            "sizes": _sizes_table(evaluation),
            "known": _known_table(evaluation),
        },
        "calibration_error": reliability(probabilities, evaluation.labels).expected_calibration_error,
        "charts": {
            "precision_recall": _precision_recall_chart(evaluation),
            "co_occurrence": _co_occurrence_charts(evaluation, predicted),
            "known": _known_chart(evaluation),
            "training": _training_charts(run.folder / HISTORY),
            "calibration": _calibration_chart(probabilities, evaluation.labels),
        },
        "mistakes": _mistakes(data.dataset, evaluation, probabilities, thresholds, worst_labels, progress),
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
        tuned = evaluate(evaluation.logits, evaluation.labels, threshold=thresholds)
        rows.append(("all, tuned thresholds", tuned.all, math.nan))
    header = ("%", "mAP", "CP", "CR", "CF1", "OP", "OR", "OF1", "macro-F1")
    return Table(
        "Scores",
        header,
        [(name, mAP, *(getattr(figures, key.replace("-", "_")) for key in header[2:])) for name, figures, mAP in rows],
        f"{scores.images} images, {scores.labels_scored} labels with a positive; CF1: harmonic mean of CP and CR.",
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
        "Labels", ("label", "positives", "AP", "precision", "recall", "threshold"), rows, "Sorted by average precision."
    )


def _confusions_table(evaluation: Evaluation, predicted: Tensor) -> Table:
    names = evaluation.names
    rows = [
        (
            names[confusion.predicted],
            names[confusion.present],
            confusion.images,
            confusion.share,
            confusion.missed,
        )
        for confusion in confusions(predicted, evaluation.labels)
    ]
    header = ("predicted, but absent", "present", "images", "% of candidates", "present label missed")
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


def _precision_recall_chart(evaluation: Evaluation) -> str:
    """The curve of all entries together, and those of some labels from the best to the worst average precision."""
    logits, labels = evaluation.logits, evaluation.labels
    precisions = evaluation.regular.average_precision
    ranked = [i for i in precisions.argsort(descending=True).tolist() if not precisions[i].isnan()]
    if not ranked:
        return ""
    distance = (len(ranked) - 1) / max(CURVES - 1, 1)
    chosen = list(dict.fromkeys(ranked[round(step * distance)] for step in range(CURVES)))
    curves: dict[int, charts.Curve] = {}
    for column in ranked:
        precision, recall = _thinned(*precision_recall_curve(logits[:, column], labels[:, column]))
        curves[column] = (evaluation.names[column], recall, precision)
    precision, recall = _thinned(*precision_recall_curve(logits.flatten(), labels.flatten()))
    named = [("all entries together", recall, precision), *(curves[column] for column in chosen)]
    return charts.precision_recall_chart(named, [curves[column] for column in ranked if column not in chosen])


def _thinned(precision: Tensor, recall: Tensor, points: int = 200) -> tuple[list[float], list[float]]:
    """The curve with at most `points` of its points, which keeps the page small."""
    selected = torch.linspace(0, len(recall) - 1, min(points, len(recall))).round().long()
    return precision[selected].tolist(), recall[selected].tolist()


def _co_occurrence_charts(evaluation: Evaluation, predicted: Tensor) -> tuple[str, str]:
    """The co-occurrence of the most frequent labels: of the true labels, and of the predicted ones."""
    present = evaluation.labels == PRESENT
    order = present.sum(0).argsort(descending=True, stable=True)[:FREQUENT]
    scored_predictions = predicted & (evaluation.labels != UNKNOWN)
    names = [evaluation.names[i] for i in order.tolist()]
    true, as_predicted = (
        charts.matrix_chart(names, co_occurrence(states[:, order]).numpy()) for states in (present, scored_predictions)
    )
    return true, as_predicted


def _known_chart(evaluation: Evaluation) -> str:
    points = evaluation.known
    if not points:
        return ""
    return charts.known_chart([p.known_share for p in points], [p.mAP for p in points], [p.mAPs for p in points])


def _training_charts(history: Path) -> tuple[str, str] | None:
    """The losses, and the validation mAP, over the epochs; None where the run has no history."""
    if not history.is_file():
        return None
    rows = read_history(history)

    def curve(title: str, key: str, factor: float = 1) -> charts.Curve:
        points = [(row["epoch"], factor * row[key]) for row in rows if key in row]
        return title, [epoch for epoch, _ in points], [value for _, value in points]

    losses = [curve("training", "loss"), curve("validation", "val_loss")]
    mAP = charts.epochs_chart([curve("", "val_mAP", 100)], "validation mAP, %")  # noqa: N806
    return charts.epochs_chart(losses, "loss", from_zero=True), mAP


def _calibration_chart(probabilities: Tensor, labels: Tensor) -> str:
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
    """The worst images of the labels with the lowest average precision, as the template takes them."""
    row_of = {image_id: row for row, image_id in enumerate(dataset.ids)}
    precisions = evaluation.regular.average_precision.nan_to_num(2.0)  # undefined ones come last
    worst = [column for column in precisions.argsort(stable=True).tolist() if precisions[column] <= 1][:count]

    def shown_image(row: int, column: int, state: int) -> dict[str, Any]:
        probability = probabilities[row, column]
        present = torch.nonzero(evaluation.labels[row] == PRESENT).flatten().tolist()
        return {
            "id": evaluation.ids[row],
            "picture": _picture(dataset.images[row_of[evaluation.ids[row]]]),
            "probability": probability.item(),
            "wrong": (probability >= thresholds[column]).item() == (state == ABSENT),
            "true": [evaluation.names[i] for i in present],
        }

    shown_labels = []
    for number, column in enumerate(worst, start=1):
        mistakes = worst_images(probabilities, evaluation.labels, column)
        shown_labels.append(
            {
                "name": evaluation.names[column],
                "AP": precisions[column].item(),
                "absent": [shown_image(row, column, ABSENT) for row in mistakes.absent],
                "present": [shown_image(row, column, PRESENT) for row in mistakes.present],
            }
        )
        if progress:
            progress(number)
    return shown_labels


def _picture(source: ImageSource) -> str:
    """A small square JPEG as a ``data:`` address, which is part of the page."""
    image = load_image(source)
    small = ImageOps.fit(image, (THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
