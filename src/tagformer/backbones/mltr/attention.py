"""Attention within windows of a feature map, and across them (MlTr, section 3.1.2; Liu et al., Swin, ICCV 2021).

Feature maps are channels-last, (B, h, w, C), as the linear layers want them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

LARGEST = 80.0  # of an exponent in float32


def partition(maps: Tensor, side: int) -> Tensor:
    """(B, h, w, C) to its windows of side x side positions: (B, windows, side * side, C), row by row."""
    batch, height, width, channels = maps.shape
    parts = maps.view(batch, height // side, side, width // side, side, channels)
    return parts.permute(0, 1, 3, 2, 4, 5).reshape(batch, -1, side * side, channels)


def merge(windows: Tensor, height: int, width: int) -> Tensor:
    """The reverse of `partition`: (B, windows, side * side, C) to (B, height, width, C)."""
    batch, _, positions, channels = windows.shape
    side = round(positions**0.5)
    parts = windows.view(batch, height // side, width // side, side, side, channels)
    return parts.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, channels)


def relative_positions(side: int) -> Tensor:
    """(side^2, side^2): for each pair of positions in a window, the row of the bias table for what lies between."""
    places = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
    down, across = places[:, :, None] - places[:, None, :] + side - 1
    return down * (2 * side - 1) + across


def shift_mask(height: int, width: int, side: int, shift: int) -> Tensor:
    """(windows, side^2, side^2): which pairs were neighbours before a map was shifted around its border.

    A shifted map's last windows hold positions from both sides of the border, which must not hear each other.
    """

    def bands(size: int) -> Tensor:
        return torch.bucketize(torch.arange(size), torch.tensor([size - side, size - shift]), right=True)

    regions = 3 * bands(height)[:, None] + bands(width)
    own = partition(regions[None, :, :, None], side)[0, :, :, 0]
    return own[:, :, None] == own[:, None, :]


class WindowAttention(nn.Module):
    """Multi-head attention among the positions of each window ("pixel attention"), with a bias for what lies between.

    A token of its own may join the positions of a map that is a single window. How much it weighs among the keys of the
    positions is learned for each head, as a factor on its part of the softmax: 1 is as much as a position, at 0 the
    positions do not hear it.

    Args:
        width: channels C.
        heads: they divide the width.
        side: positions along a window's edge.
        size: height and width of the feature map.
        shift: how far the windows are shifted, so that positions on both sides of an edge meet; 0: not.
        positions: off, there is no bias for relative positions.
        token: whether a token will join.
    """

    index: Tensor | None
    mask: Tensor | None

    def __init__(
        self,
        width: int,
        heads: int,
        side: int,
        size: tuple[int, int],
        shift: int = 0,
        positions: bool = True,
        token: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.side, self.shift = heads, side, shift
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.table = nn.Embedding((2 * side - 1) ** 2, heads) if positions else None
        if self.table is not None:
            nn.init.normal_(self.table.weight, std=0.02)
        self.token_weight = nn.Parameter(torch.ones(heads)) if token else None
        self.register_buffer("index", relative_positions(side) if positions else None, persistent=False)
        self.register_buffer("mask", shift_mask(*size, side, shift) if shift else None, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, h, w, C) to (B, h, w, C)."""
        height, width = maps.shape[1:3]
        if self.shift:
            maps = maps.roll((-self.shift, -self.shift), (1, 2))
        query, key, value = self._heads(partition(maps, self.side))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=self._bias(query))
        maps = merge(self._joined(mixed), height, width)
        return maps.roll((self.shift, self.shift), (1, 2)) if self.shift else maps

    def with_token(self, maps: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """A map that is one window (B, h, w, C) and a token (B, C), each after hearing all."""
        assert self.token_weight is not None
        height, width = maps.shape[1:3]
        tokens = torch.cat([maps.flatten(1, 2), token.unsqueeze(1)], dim=1).unsqueeze(1)
        query, key, value = self._heads(tokens)
        logits = (query / query.shape[4] ** 0.5) @ key.transpose(3, 4)
        bias = self._bias(query)
        if bias is not None:
            logits = logits + F.pad(bias, (0, 1, 0, 1))
        # Over the highest of the positions, so that their sum is not lost where the token is far above and not heard.
        highest = logits[..., :-1].amax(4, keepdim=True)
        parts = torch.exp((logits - highest).float().clamp(max=LARGEST))
        factor = torch.ones_like(parts[:1])
        # Never below 0, and learning from there too, where a clamp's gradient is 0.
        weight = self.token_weight + (self.token_weight.clamp(min=0) - self.token_weight).detach()
        factor[..., :-1, -1] = weight.unsqueeze(1)
        parts = parts * factor
        weights = parts / parts.sum(4, keepdim=True)
        mixed = self._joined(weights.to(value.dtype) @ value).squeeze(1)
        return mixed[:, :-1].unflatten(1, (height, width)), mixed[:, -1]

    def _heads(self, windows: Tensor) -> Tensor:
        """(B, N, T, C) to queries, keys and values, each (B, N, heads, T, C / heads)."""
        return self.qkv(windows).unflatten(3, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)

    def _joined(self, mixed: Tensor) -> Tensor:
        return self.proj(mixed.transpose(2, 3).flatten(3))

    def _bias(self, like: Tensor) -> Tensor | None:
        """Added to the logits: (1 or N, 1 or heads, T, T), -inf between positions that must not meet."""
        bias: Tensor | None = None
        if self.table is not None:
            bias = self.table(self.index).permute(2, 0, 1).unsqueeze(0).to(like.dtype)
        if self.mask is not None:
            bias = like.new_zeros(()) if bias is None else bias
            bias = torch.where(self.mask.unsqueeze(1), bias, float("-inf"))
        return bias


class CrossWindowAttention(nn.Module):
    """Attention among the windows of each channel: a window's side^2 values in that channel are a token.

    One head, scale 1 / side, no bias between windows; the side^2 x side^2 projections are shared by all channels
    (MlTr, Eqs. 3, 9 and 10).
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.qkv = nn.Linear(side**2, 3 * side**2)
        self.proj = nn.Linear(side**2, side**2)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, h, w, C) to (B, h, w, C)."""
        height, width = maps.shape[1:3]
        tokens = partition(maps, self.side).permute(0, 3, 1, 2)  # (B, C, N, side^2)
        query, key, value = self.qkv(tokens).chunk(3, dim=3)
        mixed = self.proj(F.scaled_dot_product_attention(query, key, value))
        return merge(mixed.permute(0, 2, 3, 1), height, width)
