"""Models, backbones and losses as users write them, good and bad, as the text of a module."""

from __future__ import annotations

MODULE = """
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from tagformer import ModelOutput, MultiLabelModel
from tagformer.backbones import Backbone
from tagformer.losses import binary_cross_entropy, reduce

if TYPE_CHECKING:
    from tagformer import LabelSpace


class Good(MultiLabelModel):
    head_prefixes = ["classifier."]

    def __init__(self, label_space: LabelSpace, backbone: Backbone, dropout: float = 0.1) -> None:
        super().__init__(label_space, backbone)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(backbone.channels[-1], len(label_space))

    def encode(self, images):
        return self.backbone(images)[-1].mean(dim=(2, 3))

    def decode(self, features, known=None):
        return ModelOutput(self.classifier(self.dropout(features)))


class Tied(Good):
    def __init__(self, label_space, backbone):
        super().__init__(label_space, backbone)
        self.alias = self.classifier
        self.other = nn.Linear(backbone.channels[-1], len(label_space))
        self.other.weight = self.classifier.weight


class Knowing(Good):
    uses_known = True

    def decode(self, features, known=None):
        logits = super().decode(features).logits
        return ModelOutput(logits if known is None else logits + 0.1 * known)


class FirstMap(Good):
    def __init__(self, label_space, backbone):
        super().__init__(label_space, backbone)
        self.classifier = nn.Linear(backbone.channels[0], len(label_space))

    def encode(self, images):
        return self.backbone(images)[0].mean(dim=(2, 3))


class Empty(MultiLabelModel):
    pass


class Width(Good):
    def __init__(self, label_space, backbone, width):
        super().__init__(label_space, backbone)


class WithoutSuper(MultiLabelModel):
    def __init__(self, label_space, backbone):
        nn.Module.__init__(self)


class Raises(Good):
    def __init__(self, label_space, backbone):
        raise ValueError("needs two maps")


class WrongHint(Good):
    def __init__(self, label_space, backbone, dropout: flot = 0.1):
        super().__init__(label_space, backbone)


class GivesTensor(Good):
    def decode(self, features, known=None):
        return self.classifier(features)


class GivesThree(Good):
    def decode(self, features, known=None):
        return ModelOutput(self.classifier(features)[:, :3])


class GivesNan(Good):
    def decode(self, features, known=None):
        return ModelOutput(self.classifier(features) * float("nan"))


class OnlyKnown(Knowing):
    def decode(self, features, known=None):
        return ModelOutput(self.classifier(features) + known.float())


class EncodesTuple(Good):
    def encode(self, images):
        return (super().encode(images),)


class Frozen(Good):
    def __init__(self, label_space, backbone):
        super().__init__(label_space, backbone)
        self.requires_grad_(False)


class OtherBias(Good):
    @property
    def output_bias(self):
        return nn.Parameter(torch.zeros(3))


class Maps(Backbone):
    strides = (4, 8)

    def __init__(self, width: int = 8):
        super().__init__()
        self.channels = (width, 2 * width)
        self.first, self.second = nn.Conv2d(3, width, 7, 4, 3), nn.Conv2d(width, 2 * width, 3, 2, 1)

    def forward(self, images):
        fine = self.first(images).relu()
        return fine, self.second(fine).relu()


class WithoutChannels(Backbone):
    pass


class OneStride(Maps):
    strides = (4,)


class WithoutMean(Maps):
    mean = None


class ZeroStd(Maps):
    std = (1.0, 0.0, 1.0)


class OtherChannels(Maps):
    def __init__(self):
        super().__init__()
        self.channels = (3, 5)


class OneMap(Maps):
    def forward(self, images):
        return super().forward(images)[-1]


class Dictionary(Maps):
    def forward(self, images):
        return dict(enumerate(super().forward(images)))


def good(logits, labels, *, reduction):
    return binary_cross_entropy(logits, labels, reduction=reduction)


def per_entry(logits, labels, *, reduction):
    return reduce(logits, labels, "none")


def nothing(logits, labels, *, reduction):
    pass


def number(logits, labels, *, reduction):
    return 1.0


def detached(logits, labels, *, reduction):
    return good(logits.detach(), labels, reduction=reduction)


def two_arguments(logits, labels):
    return logits.sum()


class ALoss(nn.Module):
    pass
"""


def settings(model: str = "linear", backbone: str = "tiny", loss: str = "bce") -> list[str]:
    """The overrides of a recipe that name these parts."""
    names = {"model.name": model, "model.backbone.name": backbone, "loss.name": loss, "model.options": "{}"}
    return [f"{key}={value}" for key, value in names.items()]
