from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tagformer.backbones import create_backbone
from tagformer.errors import TagformerError
from tagformer.models import create_model
from tagformer.models.cat import CAT, Fusion
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


def fusion(attention: str, width: int = 16, heads: int = 4) -> Fusion:
    torch.manual_seed(0)
    layer = Fusion(width, heads, 2 * width, 0.1, attention).eval()
    with torch.no_grad():
        for parameter in layer.parameters():  # biases that are not zero, and norms that are not one
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return layer


def levels(width: int = 16, size: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, width, size, size, generator=generator),
        torch.randn(2, width, 2 * size, 2 * size, generator=generator),
    )


def reference(layer: Fusion, coarse: Tensor, fine: Tensor) -> Tensor:
    """Eqs. 4 and 5 with the encoder layer around them, written out; float64."""
    state = {name: value.double() for name, value in layer.state_dict().items()}
    batch, width, height, _ = fine.shape
    heads = layer.self_attn.num_heads
    own = fine.double().permute(0, 2, 3, 1).reshape(batch, height * height, width)
    query = coarse.double().amax(dim=(2, 3))
    wq, wk, wv = state["self_attn.in_proj_weight"].chunk(3)
    bq, bk, bv = state["self_attn.in_proj_bias"].chunk(3)
    q = (query @ wq.T + bq).reshape(batch, heads, -1)
    k = (own @ wk.T + bk).reshape(batch, height * height, heads, -1)
    v = (own @ wv.T + bv).reshape(batch, height * height, heads, -1)
    weights = torch.softmax(torch.einsum("bhd,bnhd->bhn", q, k) / (width / heads) ** 0.5, dim=2)
    mixed = torch.einsum("bhn,bnhd->bhd", weights, v).reshape(batch, width)
    heard = mixed @ state["self_attn.out_proj.weight"].T + state["self_attn.out_proj.bias"]

    def norm(tokens: Tensor, name: str) -> Tensor:
        centred = tokens - tokens.mean(dim=2, keepdim=True)
        scaled = centred / (centred.pow(2).mean(dim=2, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    tokens = norm(own + heard[:, None], "norm1")
    hidden = (tokens @ state["linear1.weight"].T + state["linear1.bias"]).clamp(min=0)
    tokens = norm(tokens + hidden @ state["linear2.weight"].T + state["linear2.bias"], "norm2")
    return tokens.reshape(batch, height, height, width).permute(0, 3, 1, 2)


@torch.no_grad()
def test_pre_max_fusion_is_as_written_out() -> None:
    layer, (coarse, fine) = fusion("pre_max"), levels()
    assert torch.allclose(layer(coarse, fine).double(), reference(layer, coarse, fine), atol=1e-5)


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
    assert torch.allclose(layer.heard(query, own), layer.heard(query, own[:, order]), atol=1e-5)
    there_and_back = layer(coarse, fine.flatten(2)[:, :, order].view_as(fine)).flatten(2)[:, :, order.argsort()]
    assert torch.allclose(layer(coarse, fine).flatten(2), there_and_back, atol=1e-5)


@torch.no_grad()
def test_full_attention_answers_every_position_of_the_coarser_level() -> None:
    layer, (coarse, fine) = fusion("full"), levels()
    changed = coarse.clone()
    changed[:, :, 0, 0] += 1
    moved = (layer(changed, fine) - layer(coarse, fine)).abs().amax(dim=(0, 1))
    assert (moved[:2, :2] > 1e-4).all()  # the four fine positions below the changed one
    assert moved[2:].eq(0).all()
    assert moved[:, 2:].eq(0).all()


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
        assert len(model.dependencies) == (0 if row == "CAT w/o LRD" else 2)
        assert len(model.fusions) == model.levels - 1


@torch.no_grad()
def test_the_logits_are_the_sum_of_three_classifiers_on_maxima() -> None:
    model, images = cat(), torch.randn(2, 3, 32, 32)
    expected = sum(
        level.amax(dim=(2, 3)) @ classifier.weight.T
        for level, classifier in zip(model.maps(images), model.classifiers, strict=True)
    )
    assert torch.allclose(model(images).logits, expected + model.output_bias, atol=1e-5)


@torch.no_grad()
def test_without_clf_the_coarsest_level_alone_is_classified() -> None:
    """P_r5 of both is the same: the fusions and the finer levels only add to it."""
    model, alone, images = cat(), cat(clf=False), torch.randn(2, 3, 32, 32)
    alone.load_state_dict(
        {
            name.replace("inner_blocks.2", "inner_blocks.0").replace("layer_blocks.2", "layer_blocks.0"): value
            for name, value in model.state_dict().items()
            if not name.startswith(("fusions", "classifiers.1", "classifiers.2", "pyramid.inner_blocks.0"))
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
