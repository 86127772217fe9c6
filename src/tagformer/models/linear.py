"""The baseline: global average pooling and one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.labels.space import LabelSpace
from tagformer.models.base import ModelOutput, MultiLabelModel, Share


class Linear(MultiLabelModel):
    """The backbone alone: its last map, averaged over positions, and a linear layer. It does not use known labels.

    Args:
        dropout: share of the pooled features set to zero in training.
    """

    head_prefixes = ("classifier.",)

    def __init__(self, label_space: LabelSpace, backbone: Backbone, dropout: Share = 0.0) -> None:
        super().__init__(label_space, backbone)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(backbone.channels[-1], len(label_space))

    @property
    def output_bias(self) -> nn.Parameter:
        return self.classifier.bias

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to pooled features (B, C)."""
        return self.backbone(images)[-1].mean(dim=(2, 3))

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Pooled features (B, C) to logits (B, L), in float32; `known` changes nothing."""
        with torch.autocast(features.device.type, enabled=False):
            return ModelOutput(self.classifier(self.dropout(features.float())))

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """The class activation maps (Zhou et al., CVPR 2016): each label's weights at every position (B, K, h, w).

        Their mean over positions is the logit without its bias.
        """
        return torch.einsum("kc,bchw->bkhw", self.classifier.weight[list(labels)], self.backbone(images)[-1])
