"""What a tagger says: tags, predictions, and labels to ask about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN, LabelSpace


@dataclass(frozen=True)
class Tag:
    """One label of one image. Where `known`, the probability is 1 or 0, as it was told."""

    name: str
    probability: float
    threshold: float
    known: bool

    @property
    def predicted(self) -> bool:
        return self.probability >= self.threshold


@dataclass(frozen=True)
class Prediction:
    """What a tagger says of one image.

    Attributes:
        image: its path, or an empty text for an image in memory.
        probabilities: float32 (L,), 1 or 0 where told; extra labels included.
        known: int8 (L,), what was told.
        thresholds: float32 (L,).
    """

    image: str
    label_space: LabelSpace
    probabilities: Tensor
    known: Tensor
    thresholds: Tensor

    @property
    def ranked(self) -> list[Tag]:
        """The target labels, most probable first."""
        targets = torch.nonzero(self.label_space.is_target).flatten()
        order = targets[self.probabilities[targets].argsort(descending=True, stable=True)].tolist()
        return [
            Tag(
                self.label_space.names[column],
                self.probabilities[column].item(),
                self.thresholds[column].item(),
                bool(self.known[column] != UNKNOWN),
            )
            for column in order
        ]

    @property
    def tags(self) -> list[Tag]:
        """The labels at or above their thresholds, most probable first."""
        return [tag for tag in self.ranked if tag.predicted]

    def below(self, count: int = 3) -> list[Tag]:
        """The most probable labels below their thresholds that nobody ruled out."""
        return [tag for tag in self.ranked if not tag.predicted and not tag.known][:count]

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON: the image, its tags, every probability, and what was told."""
        told = {PRESENT: True, ABSENT: False}
        names = self.label_space.names
        return {
            "image": self.image,
            "tags": [tag.name for tag in self.tags],
            "probabilities": {tag.name: round(tag.probability, 6) for tag in self.ranked},
            "known": {names[i]: told[s] for i, s in enumerate(self.known.tolist()) if s != UNKNOWN},
        }


@dataclass(frozen=True)
class Suggestion:
    """A label to ask about.

    Attributes:
        gain: how many bits the answer is expected to tell about the unknown labels; a bit about a rare label counts
            more, see `asking.label_weights`.
        probability: of the label, by what is known so far.
    """

    name: str
    gain: float
    probability: float
