"""Windows, pixel attention and cross-window attention."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tagformer.backbones.mltr.attention import (
    CrossWindowAttention,
    PixelAttention,
    merge,
    partition,
    relative_positions,
    shift_mask,
)


@given(side=st.integers(1, 5), rows=st.integers(1, 4), columns=st.integers(1, 4), channels=st.integers(1, 3))
def test_partition_and_merge_are_inverse(side: int, rows: int, columns: int, channels: int) -> None:
    height, width = rows * side, columns * side
    maps = torch.arange(2.0 * height * width * channels).view(2, height, width, channels)
    windows = partition(maps, side)
    assert windows.shape == (2, rows * columns, side * side, channels)
    assert torch.equal(merge(windows, height, width), maps)
    row, column = rows - 1, columns // 2
    block = maps[1, row * side : (row + 1) * side, column * side : (column + 1) * side]
    assert torch.equal(windows[1, row * columns + column], block.reshape(side * side, channels))


@pytest.mark.parametrize("side", [2, 3, 7])
def test_relative_positions_are_the_same_for_the_same_displacement(side: int) -> None:
    index = relative_positions(side)
    rows: dict[tuple[int, int], set[int]] = {}
    for i in range(side**2):
        for j in range(side**2):
            rows.setdefault((i // side - j // side, i % side - j % side), set()).add(int(index[i, j]))
    assert all(len(positions) == 1 for positions in rows.values())
    assert len(set.union(*rows.values())) == len(rows) == (2 * side - 1) ** 2


def visible_from(place: tuple[int, int], size: int, side: int, shift: int) -> Tensor:
    """The positions that a position may attend to in a shifted window: same window, not across the border."""
    allowed = torch.zeros(size, size, dtype=torch.bool)
    for row in range(size):
        for column in range(size):
            pairs = ((row, place[0]), (column, place[1]))
            same = all((a - shift) % size // side == (b - shift) % size // side for a, b in pairs)
            allowed[row, column] = same and all((a < shift) == (b < shift) for a, b in pairs)
    return allowed


@torch.no_grad()
@pytest.mark.parametrize("place", [(0, 0), (1, 5), (7, 7), (3, 4), (4, 0)])
def test_shifted_attention_stays_within_its_positions(place: tuple[int, int]) -> None:
    """Noise at positions that must not be attended to changes nothing at all; noise at the others does."""
    torch.manual_seed(0)
    size, side, shift = 8, 4, 2
    attention = PixelAttention(32, 2, side, (size, size), shift)
    maps = torch.randn(1, size, size, 32)
    allowed = visible_from(place, size, side, shift)
    noise = 1e3 * torch.randn_like(maps)
    before = attention(maps)[0, place[0], place[1]]
    outside = torch.where(allowed[None, :, :, None], maps, maps + noise)
    assert torch.equal(attention(outside)[0, place[0], place[1]], before)
    for row, column in allowed.nonzero().tolist():
        changed = maps.clone()
        changed[0, row, column] += noise[0, row, column]
        assert not torch.equal(attention(changed)[0, place[0], place[1]], before)


def test_the_shift_mask_of_the_first_and_the_last_window() -> None:
    mask = shift_mask(8, 8, 4, 2)
    assert mask.shape == (4, 16, 16)
    assert mask[0].all()  # no border crosses the first window
    assert mask[3].sum() == 4 * 16  # the last window has four regions


def attention_in_loops(attention: PixelAttention, maps: Tensor) -> Tensor:
    """The attention of unshifted windows, window by window and head by head, in float64."""
    weight, offset = attention.qkv.weight.double(), attention.qkv.bias.double()
    side, width = attention.side, maps.shape[3]
    size = width // attention.heads
    out = torch.zeros_like(maps, dtype=torch.float64)
    for row in range(0, maps.shape[1], side):
        for column in range(0, maps.shape[2], side):
            tokens = maps[0, row : row + side, column : column + side].reshape(-1, width).double()
            query, key, value = (tokens @ weight.T + offset).split(width, dim=1)
            mixed = []
            for head in range(attention.heads):
                columns = slice(head * size, (head + 1) * size)
                logits = query[:, columns] @ key[:, columns].T / size**0.5
                if attention.table is not None:
                    for i in range(side**2):
                        for j in range(side**2):
                            down, across = i // side - j // side + side - 1, i % side - j % side + side - 1
                            logits[i, j] += attention.table.weight[down * (2 * side - 1) + across, head].double()
                mixed.append(logits.softmax(1) @ value[:, columns])
            done = torch.cat(mixed, 1) @ attention.proj.weight.double().T + attention.proj.bias.double()
            out[0, row : row + side, column : column + side] = done.view(side, side, width)
    return out


@torch.no_grad()
@pytest.mark.parametrize("positions", [True, False])
def test_pixel_attention_against_a_loop(positions: bool) -> None:
    torch.manual_seed(0)
    attention = PixelAttention(64, 2, 3, (6, 9), positions=positions)
    maps = torch.randn(1, 6, 9, 64)
    torch.testing.assert_close(attention(maps).double(), attention_in_loops(attention, maps), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_token_is_one_more_position_and_ignored_at_weight_zero() -> None:
    torch.manual_seed(0)
    attention = PixelAttention(64, 2, 3, (3, 3), positions=False, token=True)
    maps, token = torch.randn(2, 3, 3, 64), torch.randn(2, 64)
    attended_maps, attended_token = attention.forward_with_token(maps, token)
    tokens = torch.cat([maps.flatten(1, 2), token[:, None]], 1)
    reference = torch.nn.MultiheadAttention(64, 2, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": attention.qkv.weight,
            "in_proj_bias": attention.qkv.bias,
            "out_proj.weight": attention.proj.weight,
            "out_proj.bias": attention.proj.bias,
        }
    )
    expected = reference(tokens, tokens, tokens)[0]
    torch.testing.assert_close(
        torch.cat([attended_maps.flatten(1, 2), attended_token[:, None]], 1), expected, rtol=1e-5, atol=1e-5
    )
    attention.token_weight.zero_()
    attended_maps, attended_token = attention.forward_with_token(maps, token)
    torch.testing.assert_close(attended_maps, attention(maps), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(attended_token, expected[:, -1], rtol=1e-5, atol=1e-5)  # the token still attends to all


@torch.no_grad()
def test_a_token_with_large_logits_and_weight_zero_is_ignored() -> None:
    attention = PixelAttention(32, 1, 2, (2, 2), positions=False, token=True)
    attention.qkv.weight.copy_(torch.eye(32).repeat(3, 1))
    attention.token_weight.zero_()
    maps, token = torch.zeros(1, 2, 2, 32), torch.zeros(1, 32)
    maps[..., 0], token[:, 0] = 30.0, 60.0  # 159 and 318 before the softmax
    attended_maps, _ = attention.forward_with_token(maps, token)
    torch.testing.assert_close(attended_maps, attention(maps))


def test_a_token_weight_of_zero_has_a_gradient() -> None:
    attention = PixelAttention(32, 1, 2, (2, 2), token=True)
    torch.nn.init.zeros_(attention.token_weight)
    attended_maps, _ = attention.forward_with_token(torch.randn(1, 2, 2, 32), torch.randn(1, 32))
    attended_maps.square().sum().backward()
    assert attention.token_weight.grad.abs().max() > 0


@torch.no_grad()
def test_cross_window_attention_against_a_loop_over_channels() -> None:
    torch.manual_seed(0)
    side, height, width = 3, 6, 9
    attention = CrossWindowAttention(side)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    maps = torch.randn(2, height, width, 5)
    out = attention(maps)
    query_weight, key_weight, value_weight = attention.qkv.weight.chunk(3)
    query_bias, key_bias, value_bias = attention.qkv.bias.chunk(3)
    for image in range(2):
        for channel in range(5):
            plane = maps[image, :, :, channel]
            places = [(row, column) for row in range(0, height, side) for column in range(0, width, side)]
            tokens = torch.stack([plane[r : r + side, c : c + side].flatten() for r, c in places])
            query, key = tokens @ query_weight.T + query_bias, tokens @ key_weight.T + key_bias
            value = tokens @ value_weight.T + value_bias
            mixed = torch.softmax(query @ key.T / side, dim=1) @ value
            done = mixed @ attention.proj.weight.T + attention.proj.bias
            for (row, column), expected in zip(places, done, strict=True):
                window = out[image, row : row + side, column : column + side, channel]
                torch.testing.assert_close(window, expected.view(side, side), rtol=1e-5, atol=1e-5)


def counted(attention: torch.nn.Module, height: int, width: int, channels: int) -> int:
    """Multiply-adds, with an explicit softmax: torch counts two operations for each, and none of the fused kernel's."""
    maps = torch.zeros(1, height, width, channels)
    explicit = torch.nn.attention.SDPBackend.MATH
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(explicit), torch.no_grad():
        attention(maps)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("size", "side", "channels"), [(56, 7, 96), (24, 12, 64), (8, 2, 32)])
def test_operations_and_parameters_are_those_of_equations_5_to_10(size: int, side: int, channels: int) -> None:
    positions = size * size
    pixel = PixelAttention(channels, channels // 32, side, (size, size))
    assert counted(pixel, size, size, channels) == 4 * positions * channels**2 + 2 * side**2 * positions * channels
    everywhere = PixelAttention(channels, channels // 32, size, (size, size))  # one window is global attention
    assert counted(everywhere, size, size, channels) == 4 * positions * channels**2 + 2 * positions**2 * channels
    cross = CrossWindowAttention(side)
    expected = 4 * positions * side**2 * channels + 2 * (positions // side) ** 2 * channels
    assert counted(cross, size, size, channels) == expected
    assert sum(p.numel() for p in pixel.parameters() if p.ndim == 2 and p is not pixel.table.weight) == 4 * channels**2
    assert sum(p.numel() for p in cross.parameters() if p.ndim == 2) == 4 * side**4
