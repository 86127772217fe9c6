"""C-Tran: image features and label embeddings as tokens of one transformer encoder (Lanchantin et al., CVPR 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tagformer.backbones import Backbone
from tagformer.errors import TagformerError
from tagformer.labels import UNKNOWN, LabelSpace
from tagformer.models.base import ModelOutput, MultiLabelModel
from tagformer.models.encoder import EncoderLayer


class CTran(MultiLabelModel):
    """The Classification Transformer.

    The tokens are the h x w positions z of the backbone's last map and, for each label i, its embedding plus the
    embedding of its state: l~_i = l_i + s_i, where s is the zero vector for unknown, and learned for absent and
    present. The encoder (post-norm, ReLU, as in the authors' code) mixes them all; each label's token meets a weight
    vector of its own: logit_i = w_i . l'_i + b_i. There is no positional encoding.

    Args:
        width: size d of the tokens; where it differs from the backbone's channels, the image's are projected. None:
            the backbone's channels.
        layers, heads: of the encoder (3 and 4 in the paper's code).
        feedforward: width of the feed-forward networks; None: d, as in the paper's code.
        dropout: within the encoder's layers.
        attention_dropout: of the attention's weights; None: as `dropout`, as in the paper's code. At 0 torch's fused
            attention is used, three times as fast on a CPU.
        image_dropout: share of the training samples whose image tokens are all set to zero, so that the network
            learns to listen to known labels. Not in the paper, where it is 0.
        attention_gain: factor on the first weights of the attention's output projections. Above 1 what a token hears
            outweighs what it is from the first step, and a small data set is learned in fewer epochs; the paper's is 1.
        image_share: how much of its attention a token gives to the image's tokens together before anything is learned;
            the rest goes to the labels. A constant added to the attention's logits sees to it. None: every token counts
            alike, as in the paper, where 324 image tokens meet 80 labels (0.8); with 25 and 374 it would be 0.06, and
            learning from the image starts slowly.

    Raises:
        TagformerError: the heads do not divide the width, or an image share that is not between 0 and 1.
    """

    uses_known = True

    def __init__(
        self,
        label_space: LabelSpace,
        backbone: Backbone,
        width: int | None = None,
        layers: int = 3,
        heads: int = 4,
        feedforward: int | None = None,
        dropout: float = 0.1,
        attention_dropout: float | None = None,
        image_dropout: float = 0.0,
        image_share: float | None = None,
        attention_gain: float = 1.0,
    ) -> None:
        super().__init__(label_space, backbone)
        channels, count = backbone.channels[-1], len(label_space)
        width = width or channels
        if width % heads:
            raise TagformerError(f"ctran: {heads} heads do not divide the width {width}: choose another of the two.")
        if image_share is not None and not 0 < image_share < 1:
            raise TagformerError(f"ctran: image_share must lie between 0 and 1, not {image_share}.")
        self.image_dropout = image_dropout
        self.image_share = image_share
        self.projection = nn.Identity() if width == channels else nn.Linear(channels, width)
        self.label_embedding = nn.Embedding(count, width)
        self.state_embedding = nn.Embedding(3, width, padding_idx=0)  # unknown (zero, and kept so), absent, present
        self.norm = nn.LayerNorm(width)
        self.encoder = nn.ModuleList(
            EncoderLayer(width, heads, feedforward or width, dropout, attention_dropout) for _ in range(layers)
        )
        self.classifier_weight = nn.Parameter(torch.empty(count, width))
        self.classifier_bias = nn.Parameter(torch.zeros(count))
        bound = width**-0.5
        for embedding in (self.label_embedding.weight, self.state_embedding.weight, self.classifier_weight):
            nn.init.uniform_(embedding, -bound, bound)
        with torch.no_grad():
            self.state_embedding.weight[0].zero_()
            for name, weight in self.encoder.named_parameters():
                if name.endswith("out_proj.weight"):
                    weight.mul_(attention_gain)

    @property
    def output_bias(self) -> nn.Parameter:
        return self.classifier_bias

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the image tokens (B, h * w, d)."""
        return self.projection(self.backbone(images)[-1].flatten(2).transpose(1, 2))

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Image tokens (B, h * w, d) and known labels (B, L) to logits (B, L)."""
        batch, count = len(features), len(self.label_space)
        if known is None:
            known = torch.full((batch, count), UNKNOWN, dtype=torch.int8, device=features.device)
        if self.training and self.image_dropout:
            kept = torch.rand(batch, 1, 1, device=features.device) >= self.image_dropout
            features = features * kept
        states = self.state_embedding(known.long() + 1)  # -1, 0, 1 are rows 0, 1, 2
        labels = self.label_embedding.weight + states
        tokens = self.norm(torch.cat([features, labels.to(features.dtype)], dim=1))
        bias = self._attention_bias(features)
        for layer in self.encoder:
            tokens = layer(tokens, bias)
        with torch.autocast(tokens.device.type, enabled=False):  # logits are ranked: they stay in float32
            logits = torch.einsum("bld,ld->bl", tokens[:, -count:].float(), self.classifier_weight)
        return ModelOutput(logits + self.classifier_bias)

    def _attention_bias(self, features: Tensor) -> Tensor | None:
        """(1, h * w + L): what makes the h * w image tokens weigh `image_share` where all keys match alike."""
        if self.image_share is None:
            return None
        positions, count = features.shape[1], len(self.label_space)
        bias = features.new_zeros(1, positions + count)
        bias[:, :positions] = math.log(self.image_share / (1 - self.image_share) * count / positions)
        return bias
