"""Transformer layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class EncoderLayer(nn.TransformerEncoderLayer):
    """A transformer encoder layer (Vaswani et al. 2017) with a bias on the attention logits.

    Post-norm, the default: x = LN(x + MHA(x)), then LN(x + FFN(x)). Pre-norm, with `norm_first`: x = x + MHA(LN(x)),
    then x + FFN(LN(x)). FFN is two linear layers with a ReLU between them.

    The weights, their names and their initial values are those of torch's layer. Torch's forward is not used, because
    its fast path treats a float mask as a boolean one.

    Args:
        width: channels d of a token.
        heads: of the attention; they divide the width.
        feedforward: channels of the hidden layer of FFN.
        dropout: after the attention and within FFN; share of the values set to zero.
        attention_dropout: of the attention weights; None: as `dropout`.
        norm_first: pre-norm instead of post-norm.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        feedforward: int,
        dropout: float,
        attention_dropout: float | None = None,
        norm_first: bool = False,
    ) -> None:
        super().__init__(width, heads, feedforward, dropout, batch_first=True, norm_first=norm_first)
        if attention_dropout is not None:
            self.self_attn.dropout = attention_dropout

    def forward(  # type: ignore[override]
        self, tokens: Tensor, bias: Tensor | None = None, last: int | None = None, shared: int = 0
    ) -> Tensor:
        """Self-attention, then the feed-forward network.

        Args:
            tokens: (B, T, d).
            bias: added to the attention logits before the softmax; broadcast to (B, heads, T, T).
            last: compute only this number of tokens, the last ones; None: all T.
            shared: this number of tokens, the last ones, are the same for the whole batch; they are projected once.

        Returns:
            (B, T, d), or (B, last, d).
        """
        normed = self.pre_norm(tokens)  # (B, T, d): key and value
        query = normed if last is None else normed[:, -last:]  # (B, Q, d)
        residual = tokens if last is None else tokens[:, -last:]  # (B, Q, d)
        attended = self.multi_head_attention(query, normed, bias, shared)  # (B, Q, d)
        return self.add_and_feed_forward(residual, attended)  # (B, Q, d)

    def attend_to(self, query: Tensor, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """A post-norm layer whose query tokens attend to others: LN(q + MHA(q, tokens)), then LN(x + FFN(x)).

        Args:
            query: (B, Q, d), or (1, Q, d) where they are the same for the whole batch.
            tokens: (B, T, d): key and value.
            bias: as in `forward`.

        Returns:
            (B, Q, d).
        """
        return self.add_and_feed_forward(query, self.multi_head_attention(query, tokens, bias))

    def pre_norm(self, tokens: Tensor) -> Tensor:
        """What the attention reads: LN(tokens) with `norm_first`, otherwise the tokens."""
        return self.norm1(tokens) if self.norm_first else tokens

    def add_and_feed_forward(self, residual: Tensor, attended: Tensor) -> Tensor:
        """The layer after its attention: both residual connections and the feed-forward network.

        Args:
            residual: the tokens before the attention (B, T, d).
            attended: the output of the attention (B, T, d), or (B, 1, d) where it is the same for every token.

        Returns:
            (B, T, d).
        """
        tokens = residual + self.dropout1(attended)
        if self.norm_first:
            return tokens + self._ff_block(self.norm2(tokens))
        tokens = self.norm1(tokens)
        return self.norm2(tokens + self._ff_block(tokens))

    def multi_head_attention(
        self, query: Tensor, tokens: Tensor, bias: Tensor | None = None, shared: int = 0
    ) -> Tensor:
        """MHA(query, tokens, tokens): attention of query tokens to tokens, with the output projection.

        Args:
            query: (B or 1, Q, d).
            tokens: (B, T, d): key and value.
            bias, shared: as in `forward`; of the query tokens too, the last `shared` are the same for the batch.

        Returns:
            (B, Q, d).
        """
        attention = self.self_attn
        weight, offset, width = attention.in_proj_weight, attention.in_proj_bias, attention.embed_dim
        if query is tokens:  # one product instead of two
            q, k, v = self._heads(_linear(tokens, weight, offset, shared), 3)  # each (B, heads, T, d / heads)
        else:
            (q,) = self._heads(_linear(query, weight[:width], offset[:width], shared), 1)  # (B, heads, Q, d / heads)
            q = q.expand(len(tokens), -1, -1, -1)
            k, v = self._heads(_linear(tokens, weight[width:], offset[width:], shared), 2)  # (B, heads, T, d / heads)
        dropout = attention.dropout if self.training else 0.0
        bias = None if bias is None else bias.to(q.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return attention.out_proj(attended.transpose(1, 2).flatten(2))  # (B, heads, Q, d / heads) -> (B, Q, d)

    def attention(self, tokens: Tensor, bias: Tensor | None = None, query: Tensor | None = None) -> Tensor:
        """The attention weights of query tokens to tokens (B, T, d), (B, heads, Q, T); each row sums to 1.

        For a post-norm layer.

        Args:
            tokens: (B, T, d).
            bias: that of `forward`.
            query: (B, Q, d); None: the tokens themselves.
        """
        attention, query = self.self_attn, tokens if query is None else query
        weight, offset, width = attention.in_proj_weight, attention.in_proj_bias, attention.embed_dim
        (q,) = self._heads(F.linear(query, weight[:width], offset[:width]), 1)
        k, _ = self._heads(F.linear(tokens, weight[width:], offset[width:]), 2)
        logits = q @ k.transpose(2, 3) / q.shape[3] ** 0.5  # (B, heads, Q, T)
        return torch.softmax(logits if bias is None else logits + bias, dim=3)

    def _heads(self, projected: Tensor, count: int) -> tuple[Tensor, ...]:
        """(B, T, count * d) to `count` tensors (B, heads, T, d / heads)."""
        heads = self.self_attn.num_heads
        return tuple(chunk.unflatten(2, (heads, -1)).transpose(1, 2) for chunk in projected.chunk(count, 2))


def _linear(tokens: Tensor, weight: Tensor, bias: Tensor, shared: int) -> Tensor:
    """A linear layer on tokens (B, T, d), whose last `shared` are projected for the first image only and repeated."""
    if not shared:
        return F.linear(tokens, weight, bias)
    projected = F.linear(tokens[:1, -shared:], weight, bias).expand(len(tokens), -1, -1)
    return torch.cat([F.linear(tokens[:, :-shared], weight, bias), projected], dim=1)


class AttentionLayer(nn.Module):
    """A post-norm transformer layer whose query, key and value differ (Vaswani et al. 2017).

    x = LN(x + MHA(query, key, value)), then LN(x + FFN(x)). It is the encoder layer of networks that add positions to
    query and key only, and the part of a decoder layer that reads the image. Arguments: as of `EncoderLayer`.

    >>> layer = AttentionLayer(width=8, heads=2, feedforward=16, dropout=0.0)
    >>> labels, image = torch.zeros(1, 3, 8), torch.zeros(1, 49, 8)
    >>> layer(labels, labels, image, image).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feedforward), nn.ReLU(), nn.Dropout(dropout), nn.Linear(feedforward, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Tokens x and their queries (B, Q, d), keys and values (B, T, d), to (B, Q, d)."""
        attended = self.attention(query, key, value, need_weights=False)[0]
        tokens = self.attention_norm(tokens + self.dropout(attended))
        return self.feed_forward_norm(tokens + self.dropout(self.feed_forward(tokens)))

    def attention_weights(self, query: Tensor, key: Tensor) -> Tensor:
        """The attention of queries (B, Q, d) to keys (B, T, d), the mean over the heads: (B, Q, T); rows sum to 1."""
        return self.attention(query, key, key)[1]
