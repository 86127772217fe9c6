"""The transformer encoder layer that the models share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class EncoderLayer(nn.TransformerEncoderLayer):
    """Torch's post-norm encoder layer (its weights, names and initial values), with a bias on the attention.

    x = LN(x + MHA(x)), then LN(x + FFN(x)). Torch's own forward takes a float mask for a boolean one on its fast path.
    """

    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float, attention_dropout: float | None = None
    ) -> None:
        super().__init__(width, heads, feedforward, dropout, batch_first=True)
        if attention_dropout is not None:
            self.self_attn.dropout = attention_dropout

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """
        Args:
            tokens: (B, T, d).
            bias: added to the attention's logits before the softmax; broadcast to (B, heads, T, T).

        Returns:
            (B, T, d).
        """
        tokens = self.norm1(tokens + self.dropout1(self._attended(tokens, bias)))
        return self.norm2(tokens + self._ff_block(tokens))

    def attention(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """The attention weights (B, heads, T, T) of the same tokens; each row sums to 1."""
        query, key, _ = self._projected(tokens)
        logits = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        return torch.softmax(logits if bias is None else logits + bias, dim=3)

    def _projected(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Query, key and value, each (B, heads, T, d / heads)."""
        attention = self.self_attn
        projected = F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
        return tuple(part.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for part in projected.chunk(3, 2))

    def _attended(self, tokens: Tensor, bias: Tensor | None) -> Tensor:
        query, key, value = self._projected(tokens)
        dropout = self.self_attn.dropout if self.training else 0.0
        bias = None if bias is None else bias.to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return self.self_attn.out_proj(mixed.transpose(1, 2).flatten(2))
