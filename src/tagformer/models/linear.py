"""The baseline: global average pooling and one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.labels.space import LabelSpace
from tagformer.models.base import ModelOutput, MultiLabelModel, Share


class Linear(MultiLabelModel):
    """The backbone with global average pooling and a linear layer. It does not use known labels.

    It is the row "Backbone" of Table 3 in the paper of CAT.

    Args:
        dropout: share of the pooled features set to zero in training.

    >>> from tagformer import create_model
    >>> create_model("linear", labels=5, backbone="tiny")(torch.zeros(1, 3, 64, 64)).logits.shape
    torch.Size([1, 5])
    """

    head_prefixes = ("classifier.",)

    def __init__(self, label_space: LabelSpace, backbone: Backbone, dropout: Share = 0.0) -> None:
        super().__init__(label_space, backbone)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(backbone.channels[-1], len(label_space))

    @property
    def output_bias(self) -> nn.Parameter:
        return self.classifier.bias

    def encode_maps(self, maps: Sequence[Tensor]) -> Tensor:
        """The last map (B, C, h, w) to pooled features (B, C)."""
        return maps[-1].mean(dim=(2, 3))

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Pooled features (B, C) to logits (B, L), in float32; `known` changes nothing."""
        with torch.autocast(features.device.type, enabled=False):
            return ModelOutput(self.classifier(self.dropout(features.float())))

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """Class activation maps (Zhou et al., CVPR 2016): the weights of a label at every position, (B, K, h, w).

        The mean of a map over its positions is the logit without its bias.
        """
        return torch.einsum("kc,bchw->bkhw", self.classifier.weight[list(labels)], self.backbone(images)[-1])
