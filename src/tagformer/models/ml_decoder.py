"""ML-Decoder: fixed queries, each of which serves a group of labels (Ridnik et al., WACV 2023).

The file has the order of the network: the embedding of the image (`MLDecoder.encode_maps`), the decoder
(`MLDecoder.group_tokens`), and group decoding (`MLDecoder.decode`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError
from tagformer.labels.space import LabelSpace
from tagformer.models.base import ModelOutput, MultiLabelModel, Positive, Share
from tagformer.models.layers.transformer import AttentionLayer


class MLDecoder(MultiLabelModel):
    """A decoder layer without self-attention, whose queries are fixed random vectors that serve a group of labels each.

    - Image embedding: a linear layer and ReLU on every position of the last map, without positional encoding.
    - Queries: at most 100 random vectors, which are not learned. Each serves ceil(L / queries) labels.
    - Decoder: LN(q + dropout(q)), then attention of the queries to the image and a feed-forward network, post-norm.
    - Group decoding: each query's token times a matrix of its own gives the logits of its labels; the last ones beyond
      L are cut off, and a bias per label is added.

    Without self-attention the time grows with the queries, not with the labels. The model does not use known labels. A
    light setting for two CPU cores is width=256 and feedforward=512.

    Args:
        width: channels d of a token. Authors' code: 768.
        queries: the largest number of queries; one per label if there are fewer labels. Authors' code: 100.
        heads, feedforward, dropout: of the decoder layer. Authors' code: 8, 2048 and 0.1.

    Raises:
        TagformerError: the heads do not divide the width.

    >>> from tagformer import create_model
    >>> create_model("ml_decoder", labels=5, backbone="tiny", width=16)(torch.zeros(1, 3, 64, 64)).logits.shape
    torch.Size([1, 5])
    """

    head_prefixes = ("query_embedding", "group_weight", "classifier_bias")
    query_embedding: Tensor

    def __init__(
        self,
        label_space: LabelSpace,
        backbone: Backbone,
        width: Positive = 768,
        queries: Positive = 100,
        heads: Positive = 8,
        feedforward: Positive = 2048,
        dropout: Share = 0.1,
    ) -> None:
        super().__init__(label_space, backbone)
        if width % heads:
            raise TagformerError(f"ml_decoder: {heads} heads do not divide the width {width}: change one of the two.")
        count = len(label_space)
        queries = min(queries, count)
        self.image_embedding = nn.Sequential(nn.Linear(backbone.channels[-1], width), nn.ReLU())
        self.register_buffer("query_embedding", torch.randn(queries, width))
        self.query_dropout = nn.Dropout(dropout)
        self.query_norm = nn.LayerNorm(width)
        self.decoder = AttentionLayer(width, heads, feedforward, dropout)
        self.group_weight = nn.Parameter(torch.empty(queries, width, math.ceil(count / queries)))
        self.classifier_bias = nn.Parameter(torch.zeros(count))
        nn.init.xavier_normal_(self.group_weight)

    @property
    def output_bias(self) -> nn.Parameter:
        return self.classifier_bias

    def encode_maps(self, maps: Sequence[Tensor]) -> Tensor:
        """The last map of the backbone (B, C, h, w) to image tokens (B, h * w, d)."""
        return self.image_embedding(maps[-1].flatten(2).transpose(1, 2))

    def group_tokens(self, features: Tensor) -> Tensor:
        """The decoder: image tokens (B, h * w, d) to a token per query (B, queries, d)."""
        queries = self.query_embedding.expand(len(features), -1, -1)
        queries = self.query_norm(queries + self.query_dropout(queries))
        return self.decoder(queries, queries, features, features)

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """The decoder, and group decoding.

        Args:
            features: image tokens of `encode` (B, h * w, d).
            known: changes nothing.

        Returns:
            Logits (B, L), in float32.
        """
        tokens = self.group_tokens(features)  # (B, queries, d)
        with torch.autocast(features.device.type, enabled=False):  # logits are ranked: they stay in float32
            logits = torch.einsum("bqd,qdg->bqg", tokens.float(), self.group_weight).flatten(1)
            return ModelOutput(logits[:, : len(self.label_space)] + self.classifier_bias)
