"""Pixel attention and cross-window attention (MlTr, section 3.1.2).

Maps are channels-last, (B, h, w, C), as the linear layers read them. A window is a square of side w_s in positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

MAX_EXPONENT = 80.0  # exp of more overflows float32


def partition(maps: Tensor, side: int) -> Tensor:
    """Maps (B, h, w, C) to their windows of side x side positions, row by row: (B, windows, side * side, C).

    >>> partition(torch.zeros(1, 8, 12, 3), side=4).shape
    torch.Size([1, 6, 16, 3])
    """
    batch, height, width, channels = maps.shape
    windows = maps.view(batch, height // side, side, width // side, side, channels)
    return windows.permute(0, 1, 3, 2, 4, 5).reshape(batch, -1, side * side, channels)


def merge(windows: Tensor, height: int, width: int) -> Tensor:
    """The reverse of `partition`: windows (B, windows, side * side, C) to maps (B, height, width, C)."""
    batch, _, positions, channels = windows.shape
    side = round(positions**0.5)
    windows = windows.view(batch, height // side, width // side, side, side, channels)
    return windows.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, channels)


def relative_positions(side: int) -> Tensor:
    """The row of the table of relative position biases for each pair of positions in a window: (side^2, side^2)."""
    places = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
    down, across = places[:, :, None] - places[:, None, :] + side - 1
    return down * (2 * side - 1) + across


def shift_mask(height: int, width: int, side: int, shift: int) -> Tensor:
    """Which pairs of positions in a shifted window may attend to each other: (windows, side^2, side^2).

    A cyclic shift brings positions from opposite borders of the map into one window. These are not neighbours, so they
    must not attend to each other.
    """

    def bands(size: int) -> Tensor:
        return torch.bucketize(torch.arange(size), torch.tensor([size - side, size - shift]), right=True)

    regions = 3 * bands(height)[:, None] + bands(width)  # (height, width): positions of one region are neighbours
    windows = partition(regions[None, :, :, None], side)[0, :, :, 0]  # (windows, side^2)
    return windows[:, :, None] == windows[:, None, :]


class PixelAttention(nn.Module):
    """Pixel attention (PA): multi-head attention among the positions of each window (MlTr, section 3.1.2, Eq. 1).

    It is the window attention of Swin (Liu et al., ICCV 2021), with its relative position bias and its shifted windows.
    Its cost is that of Eqs. 7 and 8; with a single window it is the global attention of Eqs. 5 and 6.

    Where the map is a single window, the object-aware token can join its positions (see `forward_with_token`). Its
    attention weight is learned per head, as a factor on its term of the softmax: with 1 it counts as much as a
    position, with 0 the positions do not attend to it.

    Args:
        width: channels C.
        heads: they divide the width.
        side: positions w_s along the side of a window.
        size: height and width of the map.
        shift: positions by which the windows are shifted, so that positions on both sides of an edge meet; 0: no shift.
        positions: whether there is a relative position bias.
        token: whether a token will join the positions.

    >>> PixelAttention(width=32, heads=1, side=4, size=(8, 8), shift=2)(torch.zeros(1, 8, 8, 32)).shape
    torch.Size([1, 8, 8, 32])
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
        """Attention within each window, (B, h, w, C) to (B, h, w, C); T = side^2 positions in each of N windows."""
        height, width = maps.shape[1:3]
        if self.shift:
            maps = maps.roll((-self.shift, -self.shift), (1, 2))
        windows = partition(maps, self.side)  # (B, N, T, C)
        query, key, value = self._split_heads(self.qkv(windows))  # each (B, N, heads, T, C / heads)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=self.attention_bias(query))
        maps = merge(self.proj(self._merge_heads(attended)), height, width)  # (B, N, T, C) -> (B, h, w, C)
        return maps.roll((self.shift, self.shift), (1, 2)) if self.shift else maps

    def forward_with_token(self, maps: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Attention among the T = h * w positions of a single window and a token.

        Args:
            maps: (B, h, w, C), one window.
            token: (B, C).

        Returns:
            The attended positions (B, h, w, C) and the attended token (B, C).
        """
        height, width = maps.shape[1:3]
        tokens = torch.cat([maps.flatten(1, 2), token.unsqueeze(1)], dim=1).unsqueeze(1)  # (B, 1, T + 1, C)
        query, key, value = self._split_heads(self.qkv(tokens))  # each (B, 1, heads, T + 1, C / heads)
        logits = (query / query.shape[4] ** 0.5) @ key.transpose(3, 4)  # (B, 1, heads, T + 1, T + 1)
        bias = self.attention_bias(query)
        if bias is not None:
            logits = logits + F.pad(bias, (0, 1, 0, 1))
        weights = self._softmax_with_token_weight(logits).to(value.dtype)
        attended = self.proj(self._merge_heads(weights @ value)).squeeze(1)  # (B, T + 1, C)
        return attended[:, :-1].unflatten(1, (height, width)), attended[:, -1]

    def _softmax_with_token_weight(self, logits: Tensor) -> Tensor:
        """The softmax over the last dimension of (B, 1, heads, T + 1, T + 1), the token being the last key.

        For the T queries that are positions, the term of the token is multiplied by `token_weight`.
        """
        assert self.token_weight is not None
        # The maximum is taken over the positions only: a token far above them, with a weight of 0, would otherwise
        # leave their terms at 0.
        largest = logits[..., :-1].amax(4, keepdim=True)
        terms = torch.exp((logits - largest).float().clamp(max=MAX_EXPONENT))
        # The weight is clamped at 0, but its gradient is not, so that it can leave 0 again.
        weight = self.token_weight + (self.token_weight.clamp(min=0) - self.token_weight).detach()
        factors = torch.ones_like(terms[:1])
        factors[..., :-1, -1] = weight.unsqueeze(1)
        terms = terms * factors
        return terms / terms.sum(4, keepdim=True)

    def attention_bias(self, like: Tensor) -> Tensor | None:
        """Added to the attention logits: (1 or N, 1 or heads, T, T), -inf between positions that must not attend."""
        bias: Tensor | None = None
        if self.table is not None:
            bias = self.table(self.index).permute(2, 0, 1).unsqueeze(0).to(like.dtype)  # (1, heads, T, T)
        if self.mask is not None:
            bias = like.new_zeros(()) if bias is None else bias
            bias = torch.where(self.mask.unsqueeze(1), bias, float("-inf"))  # (N, 1 or heads, T, T)
        return bias

    def _split_heads(self, projected: Tensor) -> Tensor:
        """(B, N, T, 3 C) to query, key and value, (3, B, N, heads, T, C / heads)."""
        return projected.unflatten(3, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)

    @staticmethod
    def _merge_heads(attended: Tensor) -> Tensor:
        """(B, N, heads, T, C / heads) to (B, N, T, C)."""
        return attended.transpose(2, 3).flatten(3)


class CrossWindowAttention(nn.Module):
    """Cross-window attention (CWA): per channel, attention among the windows of a map (MlTr, section 3.1.2, Eq. 3).

    A token is one window in one channel: its w_s^2 values. There is one head, the scale is 1 / w_s, and there is no
    position bias between windows. The w_s^2 x w_s^2 projections are shared by all channels, so cost and parameters are
    those of Eqs. 9 and 10 (the printed Eq. 9 has lost a factor w: it is 4 h w w_s^2 C).

    Args:
        side: positions w_s along the side of a window.

    >>> CrossWindowAttention(side=4)(torch.zeros(1, 8, 12, 32)).shape
    torch.Size([1, 8, 12, 32])
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.qkv = nn.Linear(side**2, 3 * side**2)
        self.proj = nn.Linear(side**2, side**2)

    def forward(self, maps: Tensor) -> Tensor:
        """Attention among N windows, (B, h, w, C) to (B, h, w, C)."""
        height, width = maps.shape[1:3]
        tokens = partition(maps, self.side).permute(0, 3, 1, 2)  # (B, N, w_s^2, C) -> (B, C, N, w_s^2)
        query, key, value = self.qkv(tokens).chunk(3, dim=3)  # each (B, C, N, w_s^2)
        attended = self.proj(F.scaled_dot_product_attention(query, key, value))  # (B, C, N, w_s^2)
        return merge(attended.permute(0, 2, 3, 1), height, width)
