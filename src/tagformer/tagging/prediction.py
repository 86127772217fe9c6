"""What a tagger returns: tags, predictions, and labels to ask about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN, LabelSpace


@dataclass(frozen=True)
class Tag:
    """One label of one image.

    Attributes:
        name: the label.
        probability: 1 or 0 where the label is known.
        threshold: the probability from which it is predicted.
        known: whether it was given as known.

    >>> from tagformer.tagging import Tag
    >>> Tag("dog", probability=0.7, threshold=0.5, known=False).predicted
    True
    """

    name: str
    probability: float
    threshold: float
    known: bool

    @property
    def predicted(self) -> bool:
        """Whether the probability reaches the threshold."""
        return self.probability >= self.threshold


@dataclass(frozen=True)
class Prediction:
    """The labels of one image with their probabilities.

    Attributes:
        image: its path, or an empty text for an image in memory.
        label_space: the L labels.
        probabilities: float32 (L,), 1 or 0 where known; extra labels included.
        known: int8 (L,), the labels that were given as known.
        thresholds: float32 (L,).

    >>> import tagformer, torch
    >>> labels = tagformer.LabelSpace(("boat", "dog", "sea"))
    >>> probabilities, known = torch.tensor([0.9, 0.2, 1.0]), labels.known({"sea": True})
    >>> prediction = tagformer.Prediction("photo.jpg", labels, probabilities, known, torch.full((3,), 0.5))
    >>> [tag.name for tag in prediction.tags], [tag.name for tag in prediction.below()]
    (['sea', 'boat'], ['dog'])
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
        """The most probable labels below their thresholds, without those known to be absent."""
        return [tag for tag in self.ranked if not tag.predicted and not tag.known][:count]

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON: the image, its tags, every probability, and the known labels."""
        values = {PRESENT: True, ABSENT: False}
        names = self.label_space.names
        return {
            "image": self.image,
            "tags": [tag.name for tag in self.tags],
            "probabilities": {tag.name: round(tag.probability, 6) for tag in self.ranked},
            "known": {names[i]: values[s] for i, s in enumerate(self.known.tolist()) if s != UNKNOWN},
        }


@dataclass(frozen=True)
class Suggestion:
    """A label to ask about.

    Attributes:
        name: the label.
        gain: the expected information gain of the answer, in weighted bits, see `questions`.
        probability: of the label, given the labels known so far.

    >>> from tagformer.tagging import Suggestion
    >>> Suggestion(name="boat", gain=1.5, probability=0.4).name
    'boat'
    """

    name: str
    gain: float
    probability: float
