"""The model in use and a new one on the same answers, which neither was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tagformer.errors import BadImageError
from tagformer.images.reading import open_picture
from tagformer.images.source import ImageSource
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN, LabelSpace
from tagformer.metrics.bootstrap import Interval, bootstrap_mAP, interval
from tagformer.metrics.ranking import average_precision
from tagformer.tagging.encoded import EncodedTagger

NOTHING = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Verdict:
    """Two models on the same images.

    Attributes:
        before, after, difference: mAP with 95 % intervals, as fractions.
        images: how many.
        labels: how many have answers of both kinds among them; the others do not count.
    """

    before: Interval
    after: Interval
    difference: Interval
    images: int
    labels: int

    @property
    def sentence(self) -> str:
        """What the figures say.

        >>> low, high = Interval(0.6, 0.5, 0.7), Interval(0.8, 0.7, 0.9)
        >>> Verdict(low, high, Interval(0.2, 0.1, 0.3), images=40, labels=5).sentence
        'The new model is better.'
        >>> Verdict(low, high, Interval(0.2, -0.1, 0.5), images=4, labels=5).sentence
        'The difference may be chance: 0 lies within its interval.'
        """
        if not self.labels:
            return "They cannot be compared: no label has both a yes and a no on the images kept apart."
        if self.difference.low > 0:
            return "The new model is better."
        if self.difference.high < 0:
            return "The new model is worse."
        return "The difference may be chance: 0 lies within its interval."

    def to_dict(self) -> dict[str, Any]:
        """The figures for the page."""
        figures = {"before": self.before, "after": self.after, "difference": self.difference}
        images = f"{self.images} images that the training did not use, {self.labels} labels"
        return {
            **{name: _finite(one) for name, one in figures.items()},
            "images": images,
            "verdict": self.sentence,
        }


def _finite(figure: Interval) -> list[float] | None:
    """A figure for JSON; None where there is none."""
    return None if math.isnan(figure.value) else [figure.value, figure.low, figure.high]


def compare_taggers(
    before: EncodedTagger, after: EncodedTagger, images: Sequence[ImageSource], labels: Tensor
) -> Verdict:
    """Compare two models with the same labels on answered images, with nothing known.

    Args:
        before, after: the models.
        images: N images; those that cannot be read are left out.
        labels: int8 (N, L).
    """
    rows, logits = [], ([], [])  # type: tuple[list[int], tuple[list[Tensor], list[Tensor]]]
    for row, image in enumerate(images):
        try:
            picture = open_picture(image)
            found = [_logits(tagger, tagger.preprocessing.transform(picture)) for tagger in (before, after)]
        except BadImageError:
            continue
        rows.append(row)
        for of_tagger, one in zip(logits, found, strict=True):
            of_tagger.append(one)
    if not rows:
        return Verdict(NOTHING, NOTHING, NOTHING, 0, 0)
    tables, states = [torch.stack(of_tagger) for of_tagger in logits], labels[rows]
    both = (states == PRESENT).any(0) & (states == ABSENT).any(0)
    states = torch.where(both, states, UNKNOWN)
    if not both.any():
        return Verdict(NOTHING, NOTHING, NOTHING, len(rows), 0)
    precisions = [average_precision(table, states) for table in tables]
    values = [precision.nanmean().item() for precision in precisions]
    draws = bootstrap_mAP(tables, states)
    return Verdict(
        interval(values[0], draws[0]),
        interval(values[1], draws[1]),
        interval(values[1] - values[0], draws[1] - draws[0]),
        len(rows),
        int(both.sum()),
    )


def _logits(tagger: EncodedTagger, pixels: Tensor) -> Tensor:
    unknown = torch.full((1, len(tagger.label_space)), UNKNOWN, dtype=torch.int8)
    return tagger.logits(tagger.encode(pixels.unsqueeze(0)), unknown)[0].cpu()


def answer_rows(states: Sequence[Mapping[str, int]], label_space: LabelSpace) -> Tensor:
    """Answers as int8 (N, L); what nobody answered is unknown.

    >>> answer_rows([{"dog": 1}, {"cat": 0, "gone": 1}], LabelSpace(("cat", "dog"))).tolist()
    [[-1, 1], [0, -1]]
    """
    index = {name: column for column, name in enumerate(label_space.names)}
    rows = torch.full((len(states), len(index)), UNKNOWN, dtype=torch.int8)
    for row, known in enumerate(states):
        for name, state in known.items():
            if name in index:
                rows[row, index[name]] = state
    return rows
