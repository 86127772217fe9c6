"""Runs side by side on the same images, with confidence intervals of their differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tagformer.errors import TagformerError
from tagformer.evaluation.evaluate import Evaluation
from tagformer.metrics.bootstrap import Interval, bootstrap_mAP, interval
from tagformer.metrics.scores import Scores, evaluate


@dataclass(frozen=True)
class Compared:
    """One run of a comparison, on the images and labels that all runs share.

    Attributes:
        name: the run's name.
        scores: its figures.
        mAP: with its confidence interval.
        difference: mAP minus that of the first run, with its interval from the same resamples; None for the first.
    """

    name: str
    scores: Scores
    mAP: Interval  # noqa: N815
    difference: Interval | None

    @property
    def differs(self) -> bool:
        """Whether 0 lies outside the interval of the difference."""
        return self.difference is not None and (self.difference.low > 0 or self.difference.high < 0)


@dataclass(frozen=True)
class Comparison:
    """Runs side by side on the images and labels that all of them have.

    Attributes:
        runs: in the order given; the first is the one that the others are compared with.
        names: the labels that all runs share.
        images: how many images all runs share.
        left_out: how many images are in the evaluations of some runs but not of all.

    >>> from tagformer.evaluation import compare, evaluate_run, load_split
    >>> from tagformer.runs import Run
    >>> run = Run.load("runs/mine")
    >>> evaluation = evaluate_run(run, load_split(run))
    >>> comparison = compare([evaluation, evaluation], ["one", "the same"], resamples=10)
    >>> comparison.images, comparison.left_out, comparison.runs[1].difference.value
    (16, 0, 0.0)
    """

    runs: tuple[Compared, ...]
    names: tuple[str, ...]
    images: int
    left_out: int

    def label_differences(self, run: int) -> list[tuple[str, float, float]]:
        """(label, AP in the first run, AP in this one), from the greatest gain to the greatest loss."""
        before = self.runs[0].scores.average_precision.tolist()
        after = self.runs[run].scores.average_precision.tolist()
        defined = [
            (name, first, second)
            for name, first, second in zip(self.names, before, after, strict=True)
            if not math.isnan(first) and not math.isnan(second)
        ]
        return sorted(defined, key=lambda row: row[1] - row[2])


def compare(
    evaluations: Sequence[Evaluation], names: Sequence[str], resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> Comparison:
    """Compare runs on the images and labels that all of them have, matched by id and by name.

    The differences' intervals are a paired bootstrap: every run is scored on the same resamples of the images.

    Args:
        evaluations: one per run; the others are compared with the first.
        names: the runs' names.
        resamples, seed: of the bootstrap.
        level: of the intervals.

    Raises:
        TagformerError: no image or no label in common, or runs that were evaluated against different annotations.

    >>> import dataclasses, torch, tagformer
    >>> from tagformer.evaluation import EvaluationOptions, compare
    >>> from tagformer.images import Preprocessing
    >>> dataset = tagformer.load_dataset("scenes?images=24", split="test")
    >>> model = tagformer.create_model("linear", dataset.label_space, "tiny")
    >>> first = tagformer.evaluate_model(model, dataset, Preprocessing(size=32), EvaluationOptions(workers=0))
    >>> second = dataclasses.replace(first, logits=-first.logits)
    >>> comparison = compare([first, second], ["a", "b"], resamples=10)
    >>> [run.name for run in comparison.runs], comparison.images
    (['a', 'b'], 4)
    """
    shared = set.intersection(*(set(evaluation.ids) for evaluation in evaluations))
    ids = [image_id for image_id in evaluations[0].ids if image_id in shared]
    common = set.intersection(*(set(evaluation.names) for evaluation in evaluations))
    labels = [name for name in evaluations[0].names if name in common]
    if not ids or not labels:
        what = "image" if not ids else "label"
        raise TagformerError(
            f"{', '.join(names)} have no {what} in common: compare runs on the same data (--data, --split)."
        )
    logits, truths = zip(*(_align(evaluation, ids, labels) for evaluation in evaluations), strict=True)
    for name, truth in zip(names, truths, strict=True):
        different = (truth != truths[0]).nonzero()
        if len(different):
            row, column = different[0].tolist()
            raise TagformerError(
                f"{names[0]} and {name} were evaluated against different labels: image '{ids[row]}', label "
                f"'{labels[column]}' ({truths[0][row, column]} and {truth[row, column]}); evaluate both again."
            )
    resampled = bootstrap_mAP(logits, truths[0], resamples, seed)
    scores = [evaluate(run_logits, truths[0]) for run_logits in logits]
    compared = [
        Compared(
            name,
            run_scores,
            interval(run_scores.mAP, resampled[i], level, 0.0, 1.0),
            interval(run_scores.mAP - scores[0].mAP, resampled[i] - resampled[0], level) if i else None,
        )
        for i, (name, run_scores) in enumerate(zip(names, scores, strict=True))
    ]
    all_ids = set.union(*(set(evaluation.ids) for evaluation in evaluations))
    return Comparison(tuple(compared), tuple(labels), len(ids), len(all_ids) - len(ids))


def _align(evaluation: Evaluation, ids: Sequence[str], names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The logits and labels of these images and labels, in this order."""
    row_of = {image_id: row for row, image_id in enumerate(evaluation.ids)}
    column_of = {name: column for column, name in enumerate(evaluation.names)}
    rows = torch.tensor([row_of[image_id] for image_id in ids])
    columns = torch.tensor([column_of[name] for name in names])
    return evaluation.logits[rows][:, columns], evaluation.labels[rows][:, columns]
