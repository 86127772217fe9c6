"""C-Tran against its equations, written out in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tagformer.models import CTran
from tagformer.models.feedback import FeedbackPropagation
from tests.small_models import images, nothing_known, small, some_known

LABELS = 6


def ctran(**options: Any) -> CTran:
    model = small("ctran", LABELS, **{"layers": 2, **options})
    assert isinstance(model, CTran)
    return model


def from_equations(model: CTran, images_: Tensor, known: Tensor) -> Tensor:
    """C-Tran from its equations: tokens, post-norm encoder layers with residuals, a weight vector per label."""
    state = {name: value.double() for name, value in model.state_dict().items()}
    features = model.backbone(images_)[-1].double()
    batch, count = known.shape

    def normed(x: Tensor, name: str) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = (x - mean).square().mean(-1, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear_map(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.einsum("...i,oi->...o", x, weight) + bias

    z = torch.einsum("bchw->bhwc", features).reshape(batch, -1, features.shape[1])
    if "projection.weight" in state:
        z = linear_map(z, state["projection.weight"], state["projection.bias"])
    width = state["label_embedding.weight"].shape[1]
    if model.position == "sine":  # row r, column c: sin and cos of r / 10000^(2 i / (d / 2)), then those of c
        rates = [10_000 ** (-2 * i / (width // 2)) for i in range(width // 4)]
        for place in range(z.shape[1]):
            row, column = divmod(place, features.shape[3])
            code = [f(at * rate) for at in (row, column) for rate in rates for f in (math.sin, math.cos)]
            z[:, place] += torch.tensor(code, dtype=torch.float64)
    if not model.uses_image:
        z = z.new_zeros(batch, 0, width)
    rows = []
    for sample in range(batch):
        tokens = []
        for label in range(count):
            vector = state["label_embedding.weight"][label].clone()
            offset = 2 * label if len(state["state_embedding.weight"]) > 3 else 0
            if known[sample, label] == 0:
                vector += state["state_embedding.weight"][offset + 1]
            if known[sample, label] == 1:
                vector += state["state_embedding.weight"][offset + 2]
            tokens.append(vector)
        rows.append(torch.stack(tokens))
    h = normed(torch.cat([z, torch.stack(rows)], dim=1), "norm")
    for number, layer in enumerate(model.encoder):
        prefix = f"encoder.{number}"
        heads = layer.self_attn.num_heads
        size = width // heads
        weights = state[f"{prefix}.self_attn.in_proj_weight"].unflatten(0, (3, heads, size))
        biases = state[f"{prefix}.self_attn.in_proj_bias"].unflatten(0, (3, heads, size))
        q, k, v = (torch.einsum("bid,hed->bhie", h, weights[i]) + biases[i][:, None] for i in range(3))
        attention = torch.exp(torch.einsum("bhie,bhje->bhij", q, k) / math.sqrt(size))
        if model.image_share is not None:  # with equal logits the image then gets this share
            attention[..., :-count] *= model.image_share / z.shape[1]
            attention[..., -count:] *= (1 - model.image_share) / count
        attention = attention / attention.sum(-1, keepdim=True)
        mixed = torch.einsum("bhij,bhje->bihe", attention, v).flatten(2)
        mixed = linear_map(
            mixed, state[f"{prefix}.self_attn.out_proj.weight"], state[f"{prefix}.self_attn.out_proj.bias"]
        )
        h = normed(h + mixed, f"{prefix}.norm1")
        inner = linear_map(h, state[f"{prefix}.linear1.weight"], state[f"{prefix}.linear1.bias"]).clamp(min=0)
        inner = linear_map(inner, state[f"{prefix}.linear2.weight"], state[f"{prefix}.linear2.bias"])
        h = normed(h + inner, f"{prefix}.norm2")
    labels = h[:, -count:]
    return torch.einsum("bld,ld->bl", labels, state["classifier_weight"]) + state["classifier_bias"]


@pytest.mark.parametrize("gradients", [True, False])  # torch computes encoder layers in another way without gradients
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"width": None},
        {"heads": 1, "layers": 1},
        {"feedforward": 40, "layers": 3},
        {"image_share": 0.8},
        {"state_embedding": "per_label"},
        {"position": "sine"},
        {"image": False},
    ],
    ids=str,
)
def test_ctran_is_its_equations(options: dict[str, Any], gradients: bool) -> None:
    model = ctran(**options).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():  # so that no norm and no bias is the identity
            if not name.startswith(("backbone", "state_embedding")):
                weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name)))
        expected = from_equations(model, images(3), some_known(3, LABELS))
    with torch.set_grad_enabled(gradients):
        logits = model(images(3), some_known(3, LABELS)).logits
    torch.testing.assert_close(logits.detach().double(), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"image_share": 0.7}, {"image": False}], ids=str)
def test_attention_weights_are_those_of_the_layers(options: dict[str, Any]) -> None:
    """Weights times values, through the rest of the first layer, are the output of the layer."""
    model = ctran(layers=2, **options).eval()
    features = model.encode(images(2))
    attention = model.attention(features, some_known(3, LABELS)[:2])
    tokens = features.shape[1] + LABELS
    assert attention.shape == (2, 2, model.encoder[0].self_attn.num_heads, tokens, tokens)
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))
    before = model.encoder_input(features, model.label_tokens(some_known(3, LABELS)[:2]))
    layer = model.encoder[0]
    weight, bias = (part.chunk(3)[2] for part in (layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias))
    value = (before @ weight.T + bias).unflatten(2, (layer.self_attn.num_heads, -1)).transpose(1, 2)
    mixed = layer.self_attn.out_proj((attention[0] @ value).transpose(1, 2).flatten(2))
    first = layer.norm1(before + mixed)
    expected = layer.norm2(first + layer.linear2(layer.linear1(first).relu()))
    share = model.attention_bias(features)
    torch.testing.assert_close(layer(before, share), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer(before, share, last=LABELS), expected[:, -LABELS:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"layers": 1}, {"state_embedding": "per_label"}, {"image": False}], ids=str)
def test_known_labels_of_all_images_can_be_one_row(options: dict[str, Any]) -> None:
    """One row of known labels is projected once for the batch; the equations are checked with a row per image."""
    model = ctran(**options).eval()
    features, row = model.encode(images(3)), some_known(3, LABELS)[:1]
    assert (row >= 0).any()
    for one_row, rows in ((row, row.expand(3, -1)), (None, nothing_known(3, LABELS))):
        expected = model.decode(features, rows).logits
        torch.testing.assert_close(model.decode(features, one_row).logits, expected, rtol=1e-5, atol=1e-6)
    feedback = FeedbackPropagation(model)
    expected = feedback.decode(features, row.expand(3, -1)).logits
    torch.testing.assert_close(feedback.decode(features, row).logits, expected, rtol=1e-5, atol=1e-5)
