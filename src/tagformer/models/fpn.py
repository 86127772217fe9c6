"""Backbone and feature pyramid, a classifier on each level: CAT's stronger baseline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchvision.ops import FeaturePyramidNetwork

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError
from tagformer.labels.space import LabelSpace
from tagformer.models.base import ModelOutput, MultiLabelModel, Positive


class FPN(MultiLabelModel):
    """A feature pyramid on the backbone's coarsest maps S3, S4, S5, and a linear classifier on each of P3, P4, P5.

    Each classifier sees its level's maximum over positions; their logits are summed ("Backbone+FPN" in Table 3 of CAT).
    It does not use known labels.

    Args:
        width: channels of every level (1024 in the paper).
        levels: how many levels, from the coarsest on.
        standardise: each classifier's input is brought to mean 0 and variance 1 over the training batches. Maxima are
            all large and positive, and what a linear layer could undo by itself costs it many steps; see docs/cat.md.
            After training it is a part of the linear layer.

    Raises:
        TagformerError: the backbone has fewer maps than that.
    """

    head_prefixes = ("classifiers.",)

    def __init__(
        self,
        label_space: LabelSpace,
        backbone: Backbone,
        width: Positive = 1024,
        levels: Positive = 3,
        standardise: bool = True,
    ) -> None:
        super().__init__(label_space, backbone)
        if levels > len(backbone.channels):
            raise TagformerError(
                f"a pyramid of {levels} levels cannot be built: "
                f"the backbone gives {len(backbone.channels)} feature maps."
            )
        self.levels = levels
        self.pyramid = FeaturePyramidNetwork(list(backbone.channels[-levels:]), width)
        # The sum of the classifiers has one bias: that of the first.
        self.classifiers = nn.ModuleList(nn.Linear(width, len(label_space), bias=i == 0) for i in range(levels))

        self.standards = nn.ModuleList(Standardised(width) if standardise else nn.Identity() for _ in range(levels))

    @property
    def output_bias(self) -> nn.Parameter:
        return self.classifiers[0].bias  # type: ignore[return-value]

    def maps(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to the maps (B, C, h, w) that are pooled and classified, from fine to coarse."""
        features = self.backbone(images)[-self.levels :]
        return list(self.pyramid({str(level): feature for level, feature in enumerate(features)}).values())

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to each level's maximum over positions (B, levels, C), from fine to coarse."""
        return torch.stack([level.amax(dim=(2, 3)) for level in self.maps(images)], dim=1)

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Pooled levels (B, levels, C) to logits (B, L), in float32; `known` changes nothing."""
        with torch.autocast(features.device.type, enabled=False):
            levels = features.float().unbind(dim=1)
            heads = zip(self.classifiers, self.standards, levels, strict=True)
            return ModelOutput(torch.stack([classify(standard(level)) for classify, standard, level in heads]).sum(0))

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """The class activation maps (B, K, h, w): each label's weights at every position of a level.

        The coarser levels' are enlarged to the finest, and summed as the logits are.
        """
        total: Tensor | float = 0.0
        levels = self.maps(images)
        for level, classifier, standard in zip(levels, self.classifiers, self.standards, strict=True):
            weight: Tensor = classifier.weight[list(labels)]  # type: ignore[index]
            if isinstance(standard, Standardised):
                weight = weight / standard.deviation
            heat = torch.einsum("kc,bchw->bkhw", weight, level)
            total = total + F.interpolate(heat, size=levels[0].shape[2:], mode="bilinear")
        assert isinstance(total, Tensor)
        return total


class Standardised(nn.BatchNorm1d):
    """A batch norm without weights, for batches of one image too: their own mean and variance would say nothing."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C) to (B, C)."""
        if self.training and len(features) == 1:
            return (features - self.running_mean) / self.deviation
        return super().forward(features)

    @property
    def deviation(self) -> Tensor:
        """(C,), the standard deviation over the training batches."""
        return (self.running_var + self.eps).sqrt()
