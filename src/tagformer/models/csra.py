"""CSRA: class-specific residual attention (Zhu and Wu, ICCV 2021), a classifier at every position of the last map.

The file follows section 3 of the paper: the logits of a position (`CSRA.position_logits`), residual attention, one head
(`residual_attention`), and multi-head attention (`CSRA.decode`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError
from tagformer.labels.space import LabelSpace
from tagformer.models.base import ModelOutput, MultiLabelModel, Positive
from tagformer.models.layers.standardised import StandardisedChannels

Heads = Literal["max", 1, 2, 4, 6, 8]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# The temperatures of the heads. An infinite one takes the maximum; the authors' code writes 99 for it.
TEMPERATURES: dict[Heads, tuple[float, ...]] = {
    "max": (math.inf,),
    1: (1,),
    2: (1, math.inf),
    4: (1, 2, 4, math.inf),
    6: (1, 2, 3, 4, 5, math.inf),
    8: (1, 2, 3, 4, 5, 6, 7, math.inf),
}


class CSRA(MultiLabelModel):
    """A linear classifier at every position; a label's logit is the mean of its positions and those that show it best.

    - Position logits: s_j = w . x_j for the features x_j of each position j of the last map.
    - Residual attention: the mean of s_j, plus lambda times their mean under the attention softmax(T s). The higher the
      temperature T, the more the attention rests on the best position; an infinite T takes the maximum.
    - Multi-head attention: heads with a classifier and a temperature each; their logits are summed.

    The defaults are not the paper's form: on features of a frozen network they measured better (docs/heads.md has the
    figures). The paper's form is heads=1, weight=0.1, normalise=true, average=false, standardise=false and bias=false
    for VOC 2007; for COCO with heads=4 or heads=6, and weight=0.5. The model does not use known labels.

    Args:
        heads: 1, 2, 4, 6 or 8: the paper's heads with its temperatures, 1; 1, max; 1, 2, 4, max; 1 to 5, max; 1 to 7,
            max. ``max``: one head that takes the maximum, beyond the paper.
        weight: lambda, the weight of the attention beside the mean. Paper: 0.1 for VOC 2007, 0.5 for COCO.
        normalise: scale the weights w of each label to length 1. Paper: true.

    Beyond the paper:
        average: divide the logits by 1 + lambda and by the number of heads, so that they are a weighted mean.
        ensemble: so many heads of each temperature. Heads that were trained on different parts of the images are better
            together than one that was trained on all of them.
        standardise: bring each channel to mean 0 and deviation 1 first. The means and deviations are buffers, which
            change nothing until they are set from the training images: ``model.standardised.fit(mean, deviation)``.
        bias: add a bias to the logit of each label.

    >>> from tagformer import create_model
    >>> create_model("csra", labels=5, backbone="tiny")(torch.zeros(1, 3, 64, 64)).logits.shape
    torch.Size([1, 5])
    """

    head_prefixes: ClassVar[tuple[str, ...]] = ("classifier_",)

    def __init__(
        self,
        label_space: LabelSpace,
        backbone: Backbone,
        heads: Heads = "max",
        weight: Weight = 0.9,
        normalise: bool = False,
        average: bool = True,
        standardise: bool = True,
        bias: bool = True,
        ensemble: Positive = 1,
    ) -> None:
        super().__init__(label_space, backbone)
        channels, count = backbone.channels[-1], len(label_space)
        self.temperatures, self.weight = TEMPERATURES[heads] * ensemble, weight
        self.normalise, self.average = normalise, average
        self.standardised = StandardisedChannels(channels) if standardise else nn.Identity()
        self.classifier_weight = nn.Parameter(torch.empty(len(self.temperatures), count, channels))
        self.classifier_bias = nn.Parameter(torch.zeros(count)) if bias else None
        # Only the direction of normalised weights counts. Others start small, so that the maximum of many random
        # logits does not move the first probabilities away from the bias.
        bound = channels**-0.5 * (1.0 if normalise else 0.1)
        nn.init.uniform_(self.classifier_weight, -bound, bound)

    @property
    def output_bias(self) -> nn.Parameter:
        if self.classifier_bias is None:
            raise NotImplementedError
        return self.classifier_bias

    def start_from_frequencies(self, frequencies: Tensor) -> None:
        """Set the bias; see `MultiLabelModel.start_from_frequencies`.

        Raises:
            TagformerError: the model has no bias.
        """
        if self.classifier_bias is None:
            raise TagformerError(
                "csra: with bias=false there is no bias to start from the frequencies of the labels: switch one of the "
                "two (--set model.start_from_frequencies=false or --set model.options.bias=true)."
            )
        super().start_from_frequencies(frequencies)

    def encode_maps(self, maps: Sequence[Tensor]) -> Tensor:
        """The last map (B, C, h, w) to the features of its positions (B, h * w, C), standardised."""
        return self.position_features(maps[-1])

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Features of positions (B, P, C) to logits (B, L), in float32; `known` changes nothing."""
        return ModelOutput(self.residual_attention_logits(features))

    def position_features(self, last_map: Tensor) -> Tensor:
        """The last map (B, C, h, w) to the features of its positions (B, h * w, C), standardised."""
        return self.standardised(last_map.flatten(2).transpose(1, 2))

    def position_logits(self, features: Tensor) -> Tensor:
        """The logits of every position, without the bias.

        Args:
            features: of `position_features` (B, P, C).

        Returns:
            (B, P, H, L) for H heads.
        """
        weight = F.normalize(self.classifier_weight, dim=2) if self.normalise else self.classifier_weight
        return F.linear(features, weight.flatten(0, 1)).unflatten(2, weight.shape[:2])

    def residual_attention_logits(self, features: Tensor) -> Tensor:
        """Features of positions (B, P, C) to the logits of all heads together (B, L), in float32."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            if not self.weight:  # the mean of the logits is the logit of the mean
                features = features.mean(1, keepdim=True)
            heads = self.position_logits(features).unbind(2)  # each (B, P, L)
            pooled = [residual_attention(s, t, self.weight) for s, t in zip(heads, self.temperatures, strict=True)]
            logits = torch.stack(pooled).sum(0)  # (B, L)
            if self.average:
                logits = logits / ((1 + self.weight) * len(pooled))
            return logits if self.classifier_bias is None else logits + self.classifier_bias

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """The logits of the labels at every position, without the bias, summed over the heads: (B, K, h, w)."""
        last_map = self.last_map(images)
        logits = self.position_logits(self.position_features(last_map)).sum(2)  # (B, h * w, L)
        return logits[:, :, list(labels)].transpose(1, 2).unflatten(2, last_map.shape[2:])


def residual_attention(position_logits: Tensor, temperature: float, weight: float) -> Tensor:
    """The logits of one head: the mean over the positions, plus the weighted mean under the attention.

    Args:
        position_logits: s, (B, P, L).
        temperature: T of the attention softmax(T s) over the positions; infinite: the maximum.
        weight: lambda.

    Returns:
        mean(s) + lambda sum(softmax(T s) s), (B, L).

    >>> s = torch.tensor([[[0.0], [2.0]]])  # one image, two positions, one label
    >>> residual_attention(s, math.inf, weight=0.5).item()  # 1 + 0.5 * 2
    2.0
    """
    if math.isinf(temperature):
        attended = position_logits.amax(dim=1)
    else:
        attended = (torch.softmax(temperature * position_logits, dim=1) * position_logits).sum(dim=1)
    return position_logits.mean(dim=1) + weight * attended
