"""A feature pyramid with a classifier on each level: the first and the last step of CAT (section 2.3)."""

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
    """A feature pyramid and a classifier per level, the row "Backbone+FPN" of Table 3 in the paper of CAT.

    - Multi-layer image features (CAT, section 2.3): the coarsest maps S3, S4, S5 of the backbone go through a feature
      pyramid network (Lin et al., CVPR 2017) to P3, P4, P5.
    - Classifier (CAT, section 2.3): a linear layer on the maximum of each level over its positions; the logits of the
      levels are summed.

    The model does not use known labels.

    Args:
        width: channels C of every level. Paper: 1024.
        levels: number of levels, counted from the coarsest. Paper: 3.

    Beyond the paper:
        standardise: bring the inputs of each classifier to mean 0 and variance 1 over the training batches. Maxima are
            all large and positive; a linear layer needs many steps to compensate for that (docs/cat.md has the
            figures). After training the standardisation could be merged into the linear layer.

    Raises:
        TagformerError: the backbone has fewer maps than levels.

    >>> from tagformer import create_model
    >>> create_model("fpn", labels=5, backbone="tiny", width=16)(torch.zeros(1, 3, 64, 64)).logits.shape
    torch.Size([1, 5])
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
                f"a pyramid of {levels} levels cannot be built, because the backbone has only "
                f"{len(backbone.channels)} feature maps: choose fewer levels or another backbone."
            )
        self.levels = self.maps_read = levels
        self.pyramid = FeaturePyramidNetwork(list(backbone.channels[-levels:]), width)
        # The logits are summed, so one bias is enough: that of the first classifier.
        self.classifiers = nn.ModuleList(nn.Linear(width, len(label_space), bias=i == 0) for i in range(levels))
        self.standards = nn.ModuleList(Standardised(width) if standardise else nn.Identity() for _ in range(levels))

    @property
    def output_bias(self) -> nn.Parameter:
        return self.classifiers[0].bias  # type: ignore[return-value]

    def pyramid_levels(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps of the backbone to the levels P3, P4, P5, each (B, C, h, w), from fine to coarse."""
        features = maps[-self.levels :]
        return list(self.pyramid({str(level): feature for level, feature in enumerate(features)}).values())

    def encode_maps(self, maps: Sequence[Tensor]) -> Tensor:
        """The maps of the backbone to the maximum of each level over its positions (B, levels, C)."""
        return torch.stack([level.amax(dim=(2, 3)) for level in self.pyramid_levels(maps)], dim=1)

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Pooled levels (B, levels, C) to logits (B, L), in float32; `known` changes nothing."""
        with torch.autocast(features.device.type, enabled=False):
            levels = features.float().unbind(dim=1)
            heads = zip(self.classifiers, self.standards, levels, strict=True)
            return ModelOutput(torch.stack([classify(standard(level)) for classify, standard, level in heads]).sum(0))

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """Class activation maps: the weights of a label at every position of each level, (B, K, h, w).

        The maps of the coarser levels are upsampled to the finest level, and the maps are summed, as the logits are.
        """
        total: Tensor | float = 0.0
        levels = self.pyramid_levels(self.backbone(images))
        for level, classifier, standard in zip(levels, self.classifiers, self.standards, strict=True):
            weight: Tensor = classifier.weight[list(labels)]  # type: ignore[index]
            if isinstance(standard, Standardised):
                weight = weight / standard.deviation
            heat = torch.einsum("kc,bchw->bkhw", weight, level)
            total = total + F.interpolate(heat, size=levels[0].shape[2:], mode="bilinear")
        assert isinstance(total, Tensor)
        return total


class Standardised(nn.BatchNorm1d):
    """A batch norm without weights, which also accepts batches of one image.

    One image has no variance, so such a batch is standardised with the running statistics.
    """

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
