from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tagformer.backbones import create_backbone
from tagformer.errors import TagformerError
from tagformer.models import create_model
from tagformer.models.cat import CAT, CrossLayerFusion
from tagformer.models.fpn import FPN

LABELS = 5
ROWS: dict[str, tuple[str, dict[str, Any]]] = {  # Table 3, and what each row is made of
    "CAT": ("cat", {}),
    "CAT w/o LRD": ("cat", {"lrd": False}),
    "CAT w/o PMA": ("cat", {"attention": "full"}),
    "CAT w/o CLF": ("cat", {"clf": False}),
    "Backbone": ("linear", {}),
    "Backbone+FPN": ("fpn", {}),
}


def cat(seed: int = 0, **options: Any) -> CAT:
    torch.manual_seed(seed)
    model = create_model("cat", LABELS, "tiny", **{"width": 16, "heads": 4, **options})
    assert isinstance(model, CAT)
    return model.eval()


def fusion(attention: str, norm_first: bool = True, width: int = 16, heads: int = 4) -> CrossLayerFusion:
    torch.manual_seed(0)
    layer = CrossLayerFusion(width, heads, 2 * width, 0.1, norm_first, attention).eval()
    randomise(layer)
    return layer


@torch.no_grad()
def randomise(module: nn.Module) -> None:
    """Biases that are not zero, and norms that are not one."""
    for parameter in module.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.3)


def levels(width: int = 16, size: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, width, size, size, generator=generator),
        torch.randn(2, width, 2 * size, 2 * size, generator=generator),
    )


def written_out(layer: nn.Module, heads: int, query: Tensor, own: Tensor) -> Tensor:
    """An encoder layer in float64; a single query is for all.

    With norms first x = own + MHA(LN(query), LN(own), LN(own)), x + FFN(LN(x)), and else
    x = LN(own + MHA(query, own, own)), LN(x + FFN(x)).
    """
    state = {name: value.double() for name, value in layer.state_dict().items()}
    batch, count, width = own.shape

    def norm(tokens: Tensor, name: str, here: bool) -> Tensor:
        if not here:
            return tokens
        centred = tokens - tokens.mean(dim=2, keepdim=True)
        scaled = centred / (centred.pow(2).mean(dim=2, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    first = layer.norm_first
    asked, told = norm(query, "norm1", first), norm(own, "norm1", first)
    wq, wk, wv = state["self_attn.in_proj_weight"].chunk(3)
    bq, bk, bv = state["self_attn.in_proj_bias"].chunk(3)
    q = (asked @ wq.T + bq).reshape(batch, -1, heads, width // heads)
    k = (told @ wk.T + bk).reshape(batch, count, heads, width // heads)
    v = (told @ wv.T + bv).reshape(batch, count, heads, width // heads)
    weights = torch.softmax(torch.einsum("bqhd,bnhd->bhqn", q, k) / (width / heads) ** 0.5, dim=3)
    mixed = torch.einsum("bhqn,bnhd->bqhd", weights, v).flatten(2)
    heard = mixed @ state["self_attn.out_proj.weight"].T + state["self_attn.out_proj.bias"]
    tokens = norm(own + heard, "norm1", not first)
    hidden = norm(tokens, "norm2", first) @ state["linear1.weight"].T + state["linear1.bias"]
    added = hidden.clamp(min=0) @ state["linear2.weight"].T + state["linear2.bias"]
    return norm(tokens + added, "norm2", not first)


def tokens(level: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h * w, C), in float64."""
    return level.double().permute(0, 2, 3, 1).flatten(1, 2)


@torch.no_grad()
@pytest.mark.parametrize("norm_first", [True, False])
def test_pre_max_fusion_is_as_written_out(norm_first: bool) -> None:
    layer, (coarse, fine) = fusion("pre_max", norm_first), levels()
    expected = written_out(layer, 4, tokens(coarse).amax(dim=1, keepdim=True), tokens(fine))
    assert torch.allclose(tokens(layer(coarse, fine)), expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("norm_first", [True, False])
def test_the_whole_model_is_as_written_out(norm_first: bool) -> None:
    """P5 through two encoder layers, P_r5 asks P4, P_r4 asks P3; the maxima of the three are classified and summed."""
    model, images = cat(norm_first=norm_first), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    randomise(model.long_range_dependencies)
    randomise(model.cross_layer_fusion)
    p3, p4, p5 = map(tokens, FPN.maps(model, images))
    for layer in model.long_range_dependencies:
        p5 = written_out(layer, 4, p5, p5)
    refined = [p5]
    for layer, level in zip(model.cross_layer_fusion, (p4, p3), strict=True):
        refined.append(written_out(layer, 4, refined[-1].amax(dim=1, keepdim=True), level))
    for found, expected in zip(model.maps(images), reversed(refined), strict=True):
        assert torch.allclose(tokens(found), expected, atol=1e-4)
    pooled = [level.amax(dim=1) for level in reversed(refined)]
    weights = [classifier.weight.double() for classifier in model.classifiers]
    logits = sum(one @ weight.T for one, weight in zip(pooled, weights, strict=True)) + model.output_bias
    assert torch.allclose(model(images).logits.double(), logits, atol=1e-4)


def test_the_classifiers_see_standardised_maxima_and_their_maps_follow() -> None:
    """Mean 0 and variance 1 over the batches in training; then part of a linear layer, in the heat maps too."""
    model, images = cat(), torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    pooled = model.encode(images)
    for standard in model.standards:
        standard.momentum = 1.0
    model.train().decode(pooled)
    model.eval()
    means, variances = pooled.mean(dim=0), pooled.var(dim=0)
    expected = model.output_bias.expand(6, LABELS)
    for level, classifier in enumerate(model.classifiers):
        standard = (pooled[:, level] - means[level]) / (variances[level] + 1e-5).sqrt()
        expected = expected + standard @ classifier.weight.T
    torch.testing.assert_close(model.decode(pooled).logits, expected, rtol=1e-4, atol=1e-4)
    total = torch.zeros(6, 16, 16)
    for number, level in enumerate(model.maps(images)):
        weight = model.classifiers[number].weight[2] / (variances[number] + 1e-5).sqrt()
        heat = torch.einsum("c,bchw->bhw", weight, level).unsqueeze(1)
        total += torch.nn.functional.interpolate(heat, size=(16, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(model.heat_maps(images, [2])[:, 0], total, rtol=1e-4, atol=1e-4)
    single = model.train().decode(pooled[:1]).logits  # a batch of one has no deviation of its own
    torch.testing.assert_close(single, model.eval().decode(pooled[:1]).logits)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["pre_max", "full"])
def test_the_coarser_levels_positions_can_only_be_permuted_under_the_maximum(attention: str) -> None:
    layer, (coarse, fine) = fusion(attention), levels()
    permuted = coarse.flatten(2)[:, :, torch.randperm(9, generator=torch.Generator().manual_seed(3))].view_as(coarse)
    same = torch.allclose(layer(coarse, fine), layer(permuted, fine), atol=1e-5)
    assert same is (attention == "pre_max")


@torch.no_grad()
def test_permuting_keys_and_values_together_changes_nothing() -> None:
    layer, (coarse, fine) = fusion("pre_max"), levels()
    own = fine.flatten(2).transpose(1, 2)
    query = coarse.amax(dim=(2, 3)).unsqueeze(1)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(
        layer.multi_head_attention(query, own), layer.multi_head_attention(query, own[:, order]), atol=1e-5
    )
    there_and_back = layer(coarse, fine.flatten(2)[:, :, order].view_as(fine)).flatten(2)[:, :, order.argsort()]
    assert torch.allclose(layer(coarse, fine).flatten(2), there_and_back, atol=1e-5)


@torch.no_grad()
def test_full_attention_answers_every_position_of_the_coarser_level() -> None:
    layer, (coarse, fine) = fusion("full"), levels()
    changed = coarse.clone()
    changed[:, :8, 0, 0] += 1
    moved = (layer(changed, fine) - layer(coarse, fine)).abs().amax(dim=(0, 1))
    assert (moved[:2, :2] > 1e-4).all()  # the four fine positions below the changed one
    assert moved[2:].eq(0).all()
    assert moved[:, 2:].eq(0).all()


@torch.no_grad()
def test_full_attention_is_as_written_out() -> None:
    """Each fine position is answered by the query of the coarse one above it."""
    layer, (coarse, fine) = fusion("full"), levels()
    for row in range(6):
        for column in range(6):
            query = coarse[:, :, row // 2, column // 2].double().unsqueeze(1)
            expected = written_out(layer, 4, query, tokens(fine)).unflatten(1, (6, 6))[:, row, column]
            assert torch.allclose(layer(coarse, fine)[:, :, row, column].double(), expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", [7, 14])  # P5's and P4's side at 224 pixels
def test_the_products_of_full_attention_cost_as_many_times_more_as_the_query_has_positions(size: int) -> None:
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


@torch.no_grad()
@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_table_3_is_an_option(row: str) -> None:
    name, options = ROWS[row]
    torch.manual_seed(0)
    small = {} if name == "linear" else {"width": 16}
    model = create_model(name, LABELS, "tiny", **small, **options).eval()
    images = torch.randn(2, 3, 32, 32)
    assert model(images).logits.shape == (2, LABELS)
    if isinstance(model, FPN):
        sizes = [tuple(level.shape) for level in model.maps(images)]
        assert sizes == [(2, 16, 16, 16), (2, 16, 8, 8), (2, 16, 4, 4)][-model.levels :]
        assert model.levels == (1 if row == "CAT w/o CLF" else 3)
    if isinstance(model, CAT):
        assert len(model.long_range_dependencies) == (0 if row == "CAT w/o LRD" else 2)
        assert len(model.cross_layer_fusion) == model.levels - 1


@torch.no_grad()
def test_without_clf_the_coarsest_level_alone_is_classified() -> None:
    """P_r5 of both is the same: the fusions and the finer levels only add to it."""
    model, alone, images = cat(), cat(clf=False), torch.randn(2, 3, 32, 32)
    alone.load_state_dict(
        {
            name.replace("inner_blocks.2", "inner_blocks.0").replace("layer_blocks.2", "layer_blocks.0"): value
            for name, value in model.state_dict().items()
            if not name.startswith(("cross_layer_fusion", "classifiers.1", "classifiers.2", "pyramid.inner_blocks.0"))
            and not name.startswith(("standards.1", "standards.2"))
            and not name.startswith(("pyramid.inner_blocks.1", "pyramid.layer_blocks.0", "pyramid.layer_blocks.1"))
        }
    )
    assert torch.allclose(alone.maps(images)[0], model.maps(images)[-1], atol=1e-6)


def test_the_full_size_model_has_the_layers_of_the_paper() -> None:
    """ResNeXt-50, 1024 channels, two encoder layers, two fusions, three classifiers of 80 labels; counted by hand."""
    backbone = create_backbone("resnext50_32x4d", pretrained=False)
    with torch.device("meta"):
        model = CAT(create_model("linear", 80, "tiny").label_space, backbone)
    channels, width = (512, 1024, 2048), 1024
    lateral = sum(c * width + width for c in channels)
    output = 3 * (9 * width * width + width)
    layer = 4 * (width * width + width) + 2 * (2 * width * width) + 3 * width + 4 * width
    classifiers = 3 * 80 * width + 80
    own = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("backbone"))
    assert own == lateral + output + 4 * layer + classifiers


def test_gradients_reach_every_weight() -> None:
    model = cat()
    model(torch.randn(2, 3, 32, 32)).logits.pow(2).sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"heads": 3}, "cat: 3 heads do not divide the width 16"),
        ({"heads": 0}, "model 'cat', option heads=0: input should be greater than or equal to 1"),
        ({"width": 0}, "option width=0"),
        ({"dropout": 1.0}, "option dropout=1.0: input should be less than 1"),
        ({"lrd": "perhaps"}, "option lrd=perhaps: input should be a valid boolean"),
        ({"attention": None}, "option attention=None: input should be a valid string"),
        ({"attention": "pre-max"}, "attention 'pre-max' is unknown"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TagformerError) as error:
        cat(**options)
    assert sentence in str(error.value)


def test_a_backbone_with_too_few_maps_is_refused() -> None:
    backbone = create_backbone("tiny")
    backbone.channels = backbone.channels[-2:]
    with pytest.raises(TagformerError, match="the backbone gives 2 feature maps"):
        create_model("cat", LABELS, backbone)
