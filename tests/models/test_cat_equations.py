"""CAT against its equations, written out in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tagformer.models import CAT, FPN
from tagformer.models.cat import CrossLayerFusion, pre_max_attention
from tests.small_models import images, small


def fusion(attention: str, norm_first: bool = True, width: int = 16, heads: int = 4) -> CrossLayerFusion:
    torch.manual_seed(0)
    layer = CrossLayerFusion(width, heads, 2 * width, 0.1, norm_first, attention).eval()
    randomise(layer)
    return layer


@torch.no_grad()
def randomise(module: nn.Module) -> None:
    """Biases that are not zero, and norm weights that are not one."""
    for parameter in module.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.3)


def levels(width: int = 16, size: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, width, size, size, generator=generator),
        torch.randn(2, width, 2 * size, 2 * size, generator=generator),
    )


def from_equations(layer: nn.Module, heads: int, query: Tensor, key_value: Tensor) -> Tensor:
    """An encoder layer in float64; a single query serves all tokens.

    Pre-norm: x = key_value + MHA(LN(query), LN(key_value), LN(key_value)), x + FFN(LN(x)). Post-norm:
    x = LN(key_value + MHA(query, key_value, key_value)), LN(x + FFN(x)).
    """
    state = {name: value.double() for name, value in layer.state_dict().items()}
    batch, count, width = key_value.shape

    def norm(tokens: Tensor, name: str, here: bool) -> Tensor:
        if not here:
            return tokens
        centred = tokens - tokens.mean(dim=2, keepdim=True)
        scaled = centred / (centred.pow(2).mean(dim=2, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    first = layer.norm_first
    query, normed = norm(query, "norm1", first), norm(key_value, "norm1", first)
    wq, wk, wv = state["self_attn.in_proj_weight"].chunk(3)
    bq, bk, bv = state["self_attn.in_proj_bias"].chunk(3)
    q = (query @ wq.T + bq).reshape(batch, -1, heads, width // heads)
    k = (normed @ wk.T + bk).reshape(batch, count, heads, width // heads)
    v = (normed @ wv.T + bv).reshape(batch, count, heads, width // heads)
    weights = torch.softmax(torch.einsum("bqhd,bnhd->bhqn", q, k) / (width / heads) ** 0.5, dim=3)
    mixed = torch.einsum("bhqn,bnhd->bqhd", weights, v).flatten(2)
    attended = mixed @ state["self_attn.out_proj.weight"].T + state["self_attn.out_proj.bias"]
    tokens = norm(key_value + attended, "norm1", not first)
    hidden = norm(tokens, "norm2", first) @ state["linear1.weight"].T + state["linear1.bias"]
    added = hidden.clamp(min=0) @ state["linear2.weight"].T + state["linear2.bias"]
    return norm(tokens + added, "norm2", not first)


def tokens(level: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h * w, C), in float64."""
    return level.double().permute(0, 2, 3, 1).flatten(1, 2)


@torch.no_grad()
@pytest.mark.parametrize("norm_first", [True, False])
def test_pre_max_fusion_is_its_equations(norm_first: bool) -> None:
    layer, (coarse, fine) = fusion("pre_max", norm_first), levels()
    expected = from_equations(layer, 4, tokens(coarse).amax(dim=1, keepdim=True), tokens(fine))
    assert torch.allclose(tokens(layer(coarse, fine)), expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("norm_first", [True, False])
def test_the_whole_model_is_its_equations(norm_first: bool) -> None:
    """P5 through two encoder layers; P_r5 is the query to P4, and P_r4 to P3; the maxima are classified and summed."""
    model, pictures = small("cat", norm_first=norm_first, heads=4), images()
    assert isinstance(model, CAT)
    randomise(model.long_range_dependencies)
    randomise(model.cross_layer_fusion)
    p3, p4, p5 = map(tokens, FPN.pyramid_levels(model, model.backbone(pictures)))
    for layer in model.long_range_dependencies:
        p5 = from_equations(layer, 4, p5, p5)
    refined = [p5]
    for layer, level in zip(model.cross_layer_fusion, (p4, p3), strict=True):
        refined.append(from_equations(layer, 4, refined[-1].amax(dim=1, keepdim=True), level))
    for level, expected in zip(model.pyramid_levels(model.backbone(pictures)), reversed(refined), strict=True):
        assert torch.allclose(tokens(level), expected, atol=1e-4)
    pooled = [level.amax(dim=1) for level in reversed(refined)]
    weights = [classifier.weight.double() for classifier in model.classifiers]
    logits = sum(one @ weight.T for one, weight in zip(pooled, weights, strict=True)) + model.output_bias
    assert torch.allclose(model(pictures).logits.double(), logits, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["pre_max", "full"])
def test_only_pre_max_attention_ignores_the_order_of_the_query_positions(attention: str) -> None:
    layer, (coarse, fine) = fusion(attention), levels()
    permuted = coarse.flatten(2)[:, :, torch.randperm(9, generator=torch.Generator().manual_seed(3))].view_as(coarse)
    same = torch.allclose(layer(coarse, fine), layer(permuted, fine), atol=1e-5)
    assert same is (attention == "pre_max")


@torch.no_grad()
def test_the_order_of_keys_and_values_does_not_matter() -> None:
    layer, (coarse, fine) = fusion("pre_max"), levels()
    order = torch.randperm(36, generator=torch.Generator().manual_seed(3))
    permuted = fine.flatten(2)[:, :, order].view_as(fine)
    attended = pre_max_attention(layer, coarse, fine)
    assert attended.shape == (2, 1, 16)
    assert torch.allclose(attended, pre_max_attention(layer, coarse, permuted), atol=1e-5)
    there_and_back = layer(coarse, permuted).flatten(2)[:, :, order.argsort()]
    assert torch.allclose(layer(coarse, fine).flatten(2), there_and_back, atol=1e-5)


@torch.no_grad()
def test_full_attention_depends_on_every_position_of_the_coarser_level() -> None:
    layer, (coarse, fine) = fusion("full"), levels()
    changed = coarse.clone()
    changed[:, :8, 0, 0] += 1
    moved = (layer(changed, fine) - layer(coarse, fine)).abs().amax(dim=(0, 1))
    assert (moved[:2, :2] > 1e-4).all()  # the four fine positions below the changed one
    assert moved[2:].eq(0).all()
    assert moved[:, 2:].eq(0).all()


@torch.no_grad()
def test_full_attention_is_its_equations() -> None:
    """Each finer position gets the result of the query at the coarser position that covers it."""
    layer, (coarse, fine) = fusion("full"), levels()
    for row in range(6):
        for column in range(6):
            query = coarse[:, :, row // 2, column // 2].double().unsqueeze(1)
            expected = from_equations(layer, 4, query, tokens(fine)).unflatten(1, (6, 6))[:, row, column]
            assert torch.allclose(layer(coarse, fine)[:, :, row, column].double(), expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", [7, 14])  # P5's and P4's side at 224 pixels
def test_the_products_of_both_attentions_cost_what_equations_6_and_7_say(size: int) -> None:
    """Eqs. 6 and 7: the score and value products of queries h x w and 2h x 2w keys and values."""

    def products(attention: str) -> int:
        layer, (coarse, fine) = fusion(attention), levels(size=size)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            layer(coarse, fine)
        counts = counter.get_flop_counts()["Global"]
        return sum(count for operation, count in counts.items() if "bmm" in str(operation))

    pre_max, full = products("pre_max"), products("full")
    keys, width, images = (2 * size) ** 2, 16, 2
    assert pre_max == images * 2 * (2 * keys * width)  # 8hwc multiply-adds, two FLOPs each, of each image
    assert full == size**2 * pre_max
