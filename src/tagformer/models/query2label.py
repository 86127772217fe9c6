"""Query2Label: each label is a query that looks for itself in the image (Liu et al., arXiv 2107.10834, 2021).

The image and the transformer encoder are `Query2Label.encode_maps`, the transformer decoder and the classifiers
`Query2Label.decode`; a layer of the decoder is `LabelDecoderLayer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError
from tagformer.labels.space import LabelSpace
from tagformer.models.base import ModelOutput, MultiLabelModel, Positive, Share
from tagformer.models.layers.positions import sine_positions
from tagformer.models.layers.transformer import AttentionLayer

Layers = Annotated[int, Field(ge=0)]


class Query2Label(MultiLabelModel):
    """A transformer whose decoder has a learned query per label, which collects the label's evidence from the image.

    - Image: the positions of the last map are tokens. Sines and cosines of row and column are added to every query and
      key that is an image token, but not to the values.
    - Transformer encoder: self-attention over the image tokens, post-norm with ReLU.
    - Transformer decoder: the tokens of the labels begin at zero. In each layer, token plus label embedding is the
      query to the image tokens. A layer norm follows the last layer.
    - Classifiers: logit_i = w_i . t_i + b_i, with a weight vector per label.

    As in the authors' code, the self-attention between labels that a decoder has is left out. The model does not use
    known labels. A light setting for two CPU cores is width=256 and feedforward=512.

    Args:
        width: channels d of a token; None: the channels of the backbone, without a projection (2048 in the paper).
        heads: of each attention. Authors' code: 4.
        encoder_layers, decoder_layers: Paper: 1 and 2.
        feedforward: hidden channels of the feed-forward networks; None: four times the width (8192 in the paper).
        dropout: of the attention weights, after the attentions and within the feed-forward networks.
        self_attention: add the self-attention between the labels to each decoder layer, as the paper describes it.

    Raises:
        TagformerError: heads that do not divide the width, or a width that is not a multiple of 4.

    >>> from tagformer import create_model
    >>> create_model("query2label", labels=5, backbone="tiny", width=16)(torch.zeros(1, 3, 64, 64)).logits.shape
    torch.Size([1, 5])
    """

    head_prefixes = ("label_embedding.", "classifier_")

    def __init__(
        self,
        label_space: LabelSpace,
        backbone: Backbone,
        width: Positive | None = None,
        heads: Positive = 4,
        encoder_layers: Layers = 1,
        decoder_layers: Positive = 2,
        feedforward: Positive | None = None,
        dropout: Share = 0.1,
        self_attention: bool = False,
    ) -> None:
        super().__init__(label_space, backbone)
        channels, count = backbone.channels[-1], len(label_space)
        width = width or channels
        if width % heads:
            raise TagformerError(f"query2label: {heads} heads do not divide the width {width}: change one of the two.")
        if width % 4:
            raise TagformerError(f"query2label: its positions need a width that is a multiple of 4, not {width}.")
        sizes = (width, heads, feedforward or 4 * width, dropout)
        self.projection = nn.Identity() if width == channels else nn.Conv2d(channels, width, 1)
        self.encoder = nn.ModuleList(AttentionLayer(*sizes) for _ in range(encoder_layers))
        self.label_embedding = nn.Embedding(count, width)
        self.decoder = nn.ModuleList(LabelDecoderLayer(*sizes, self_attention) for _ in range(decoder_layers))
        self.decoder_norm = nn.LayerNorm(width)
        self.classifier_weight = nn.Parameter(torch.empty(count, width))
        self.classifier_bias = nn.Parameter(torch.empty(count))
        for weight in (*self.encoder.parameters(), *self.decoder.parameters()):
            if weight.ndim > 1:
                nn.init.xavier_uniform_(weight)
        for weight in (self.classifier_weight, self.classifier_bias):
            nn.init.uniform_(weight, -(width**-0.5), width**-0.5)

    @property
    def output_bias(self) -> nn.Parameter:
        return self.classifier_bias

    def encode_maps(self, maps: Sequence[Tensor]) -> Tensor:
        """The last map of the backbone (B, C, h, w) to the image tokens of the encoder, as a map (B, d, h, w)."""
        features = self.projection(maps[-1])  # (B, d, h, w)
        for layer in self.encoder:
            keys, values = keys_and_values(features)  # each (B, h * w, d)
            tokens = layer(values, keys, keys, values)
            features = tokens.transpose(1, 2).unflatten(2, features.shape[2:])
        return features

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """The transformer decoder and the classifiers.

        Args:
            features: image tokens of `encode` (B, d, h, w).
            known: changes nothing.

        Returns:
            Logits (B, L), in float32.
        """
        keys, values = keys_and_values(features)  # each (B, h * w, d)
        embedding = self.label_embedding.weight.expand(len(features), -1, -1)  # (B, L, d)
        tokens = torch.zeros_like(embedding)
        for layer in self.decoder:
            tokens = layer(tokens, embedding, keys, values)
        with torch.autocast(features.device.type, enabled=False):  # logits are ranked: they stay in float32
            tokens = self.decoder_norm(tokens.float())
            return ModelOutput(torch.einsum("bld,ld->bl", tokens, self.classifier_weight) + self.classifier_bias)

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """The attention of each label to each position, the mean over the decoder's layers and heads: (B, K, h, w)."""
        features = self.encode(images)
        keys, values = keys_and_values(features)
        embedding = self.label_embedding.weight.expand(len(features), -1, -1)
        tokens, weights = torch.zeros_like(embedding), []
        for layer in self.decoder:
            assert isinstance(layer, LabelDecoderLayer)
            weights.append(layer.attention_weights(layer.attend_to_labels(tokens, embedding) + embedding, keys))
            tokens = layer(tokens, embedding, keys, values)
        attention = torch.stack(weights).mean(0)  # (B, L, h * w)
        return attention[:, list(labels)].unflatten(2, features.shape[2:])


class LabelDecoderLayer(AttentionLayer):
    """A layer of the decoder: attention of the labels to the image, after self-attention between them if wanted.

    Args:
        self_attention: as in `Query2Label`; the other arguments are those of `AttentionLayer`.
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, self_attention: bool) -> None:
        super().__init__(width, heads, feedforward, dropout)
        self.self_attention = self.self_attention_norm = None
        if self_attention:
            self.self_attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
            self.self_attention_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, embedding: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """One step of the labels.

        Args:
            tokens: of the labels (B, L, d).
            embedding: of the labels (B, L, d), added to the tokens where they are queries or keys.
            keys, values: image tokens with and without positions, each (B, h * w, d).

        Returns:
            (B, L, d).
        """
        tokens = self.attend_to_labels(tokens, embedding)
        return super().forward(tokens, tokens + embedding, keys, values)

    def attend_to_labels(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """The self-attention between the labels, with its residual and layer norm; without one the tokens."""
        if self.self_attention is None or self.self_attention_norm is None:
            return tokens
        query = tokens + embedding
        attended = self.self_attention(query, query, tokens, need_weights=False)[0]
        return self.self_attention_norm(tokens + self.dropout(attended))


def keys_and_values(features: Tensor) -> tuple[Tensor, Tensor]:
    """A map (B, d, h, w) as tokens with positions and without them, each (B, h * w, d)."""
    channels, height, width = features.shape[1:]
    values = features.flatten(2).transpose(1, 2)
    positions = sine_positions(height, width, channels, features.device, normalised=True)
    return values + positions.to(values.dtype), values
