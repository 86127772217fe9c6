"""Runs side by side on the same images, with confidence intervals of their differences."""

from __future__ import annotations

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
        mAP: with its interval.
        difference: of mAP from the first run's, with its interval from the same resamples; None for the first.
    """

    name: str
    scores: Scores
    mAP: Interval  # noqa: N815
    difference: Interval | None

    @property
    def differs(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        return self.difference is not None and (self.difference.low > 0 or self.difference.high < 0)


@dataclass(frozen=True)
class Comparison:
    """
    Attributes:
        names: the labels that all runs share.
        left_out: how many images are in some runs' evaluations and not in all.
    """

    runs: tuple[Compared, ...]
    names: tuple[str, ...]
    images: int
    left_out: int

    def label_differences(self, run: int) -> list[tuple[str, float, float]]:
        """(label, AP in the first run, AP in this one), from the greatest gain to the greatest loss."""
        first, own = (self.runs[i].scores.average_precision.tolist() for i in (0, run))
        pairs = [each for each in zip(self.names, first, own, strict=True) if each[1] == each[1] and each[2] == each[2]]
        return sorted(pairs, key=lambda pair: pair[1] - pair[2])


def compare(
    evaluations: Sequence[Evaluation], names: Sequence[str], resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> Comparison:
    """Compare runs on the images and labels that all of them have, matched by id and by name.

    The differences' intervals are a paired bootstrap: every run is scored on the same resamples of the images.

    Args:
        evaluations: one a run; the others are held against the first.
        names: what to call the runs.
        resamples, seed: of the bootstrap.
        level: of the intervals.

    Raises:
        TagformerError: no image or no label in common, or the runs were told different truths.
    """
    shared = set.intersection(*(set(each.ids) for each in evaluations))
    ids = [image_id for image_id in evaluations[0].ids if image_id in shared]
    common = set.intersection(*(set(each.names) for each in evaluations))
    labels = [name for name in evaluations[0].names if name in common]
    if not ids or not labels:
        what = "image" if not ids else "label"
        raise TagformerError(
            f"{', '.join(names)} have no {what} in common: compare runs on the same data (--data, --split)."
        )
    logits, truths = zip(*(_aligned(each, ids, labels) for each in evaluations), strict=True)
    for name, truth in zip(names, truths, strict=True):
        different = (truth != truths[0]).nonzero()
        if len(different):
            row, column = different[0].tolist()
            raise TagformerError(
                f"{names[0]} and {name} were evaluated against different labels: image '{ids[row]}', label "
                f"'{labels[column]}' ({truths[0][row, column]} and {truth[row, column]}); evaluate both anew."
            )
    resampled = bootstrap_mAP(logits, truths[0], resamples, seed)
    scores = [evaluate(each, truths[0]) for each in logits]
    compared = [
        Compared(
            name,
            own,
            interval(own.mAP, resampled[i], level),
            interval(own.mAP - scores[0].mAP, resampled[i] - resampled[0], level) if i else None,
        )
        for i, (name, own) in enumerate(zip(names, scores, strict=True))
    ]
    everything = set.union(*(set(each.ids) for each in evaluations))
    return Comparison(tuple(compared), tuple(labels), len(ids), len(everything) - len(ids))


def _aligned(evaluation: Evaluation, ids: Sequence[str], names: Sequence[str]) -> tuple[Tensor, Tensor]:
    row_of = {image_id: row for row, image_id in enumerate(evaluation.ids)}
    column_of = {name: column for column, name in enumerate(evaluation.names)}
    rows = torch.tensor([row_of[image_id] for image_id in ids])
    columns = torch.tensor([column_of[name] for name in names])
    return evaluation.logits[rows][:, columns], evaluation.labels[rows][:, columns]
