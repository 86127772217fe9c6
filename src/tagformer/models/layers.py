"""Layers that the models share: the transformer encoder layer, and positional encodings of image tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

GRID = 16  # side of the learned table; other grids are interpolated from it


class EncoderLayer(nn.TransformerEncoderLayer):
    """Torch's encoder layer (its weights, names and initial values), with a bias on the attention.

    x = LN(x + MHA(x)), then LN(x + FFN(x)); with `norm_first` x + MHA(LN(x)), then x + FFN(LN(x)). Torch's own forward
    takes a float mask for a boolean one on its fast path.
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
        """
        Args:
            tokens: (B, T, d).
            bias: added to the attention's logits before the softmax; broadcast to (B, heads, T, T).
            last: only so many of the last tokens are wanted; None: all T.
            shared: so many of the last tokens are the same for the whole batch; they are projected once.

        Returns:
            (B, T, d), or (B, last, d).
        """
        told = self.norm1(tokens) if self.norm_first else tokens
        asked, wanted = (told, tokens) if last is None else (told[:, -last:], tokens[:, -last:])
        return self.added(wanted, self.multi_head_attention(asked, told, bias, shared))

    def added(self, tokens: Tensor, heard: Tensor) -> Tensor:
        """The rest of the layer after the attention: tokens (B, T, d) and what they heard."""
        tokens = tokens + self.dropout1(heard)
        if self.norm_first:
            return tokens + self._ff_block(self.norm2(tokens))
        tokens = self.norm1(tokens)
        return self.norm2(tokens + self._ff_block(tokens))

    def multi_head_attention(
        self, query: Tensor, tokens: Tensor, bias: Tensor | None = None, shared: int = 0
    ) -> Tensor:
        """The multi-head attention of query tokens (B, Q, d) to tokens (B, T, d), projected: (B, Q, d).

        Of either, the last `shared` are the same for the whole batch.
        """
        attention = self.self_attn
        weight, offset, width = attention.in_proj_weight, attention.in_proj_bias, attention.embed_dim
        if query is tokens:
            q, k, v = self._heads(_linear(tokens, weight, offset, shared), 3)
        else:
            (q,) = self._heads(_linear(query, weight[:width], offset[:width], shared), 1)
            k, v = self._heads(_linear(tokens, weight[width:], offset[width:], shared), 2)
        dropout = attention.dropout if self.training else 0.0
        bias = None if bias is None else bias.to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return attention.out_proj(mixed.transpose(1, 2).flatten(2))

    def attention(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """The attention weights (B, heads, T, T) of the same tokens; each row sums to 1."""
        attention = self.self_attn
        query, key, _ = self._heads(F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias), 3)
        logits = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        return torch.softmax(logits if bias is None else logits + bias, dim=3)

    def _heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, T, parts * d) to `parts` times (B, heads, T, d / heads)."""
        heads = self.self_attn.num_heads
        return tuple(part.unflatten(2, (heads, -1)).transpose(1, 2) for part in projected.chunk(parts, 2))


def _linear(tokens: Tensor, weight: Tensor, bias: Tensor, shared: int) -> Tensor:
    """The linear map of tokens (B, T, d), whose last `shared` are worked out for one image and repeated."""
    if not shared:
        return F.linear(tokens, weight, bias)
    alike = F.linear(tokens[:1, -shared:], weight, bias).expand(len(tokens), -1, -1)
    return torch.cat([F.linear(tokens[:, :-shared], weight, bias), alike], dim=1)


def sine_positions(height: int, width: int, channels: int, device: torch.device | None = None) -> Tensor:
    """Fixed sines and cosines of row and column, (height * width, channels); Vaswani et al. 2017, in two dimensions.

    The first half of the channels encodes the row, the second the column, each at wavelengths from 2 pi to 20,000 pi
    positions.

    Raises:
        ValueError: the channels are no multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"2-D sine positions need a multiple of 4 channels, not {channels}")
    rates = torch.exp(torch.arange(0, channels // 2, 2, device=device) * (-math.log(10_000) / (channels // 2)))

    def encoded(count: int) -> Tensor:
        angles = torch.arange(count, device=device).unsqueeze(1) * rates
        return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)

    rows = encoded(height).unsqueeze(1).expand(-1, width, -1)
    columns = encoded(width).unsqueeze(0).expand(height, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


class LearnedPositions(nn.Module):
    """A learned vector for each position of a grid, interpolated where the image has another grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(1, channels, GRID, GRID))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, height: int, width: int) -> Tensor:
        """(height * width, channels)."""
        grid = F.interpolate(self.table, (height, width), mode="bilinear", align_corners=False)
        return grid[0].flatten(1).T
