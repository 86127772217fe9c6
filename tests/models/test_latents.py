"""C-Tran with latents: against its equations in loops, and that its cost grows in proportion to the labels."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tagformer.errors import TagformerError
from tagformer.models import CTran
from tagformer.models.layers.latents import PART
from tagformer.models.layers.transformer import EncoderLayer
from tests.models.contract import ModelContract
from tests.models.transformer_reference import attention, feed_forward, layer_norm
from tests.small_models import images, randomise_vectors, small, some_known

LABELS, LATENTS = 6, 3


class TestCTranWithLatents(ModelContract):
    name = "ctran"
    options: ClassVar[dict[str, Any]] = {"latents": LATENTS, "layers": 2}


class TestCTranWithLatentsAndOneLayer(ModelContract):
    name = "ctran"
    options: ClassVar[dict[str, Any]] = {"latents": LATENTS, "layers": 1, "image_share": 0.8}


def ctran(labels: int = LABELS, **options: Any) -> CTran:
    """A small model with latents whose biases and norms are random, so that none can be forgotten."""
    model = small("ctran", labels, **{"layers": 2, "latents": LATENTS, **options})
    assert isinstance(model, CTran)
    randomise_vectors(model)
    return model


def attended(layer: EncoderLayer, query: Tensor, keys: Tensor) -> Tensor:
    """A post-norm layer in which query tokens (Q, d) attend to others (T, d)."""
    tokens = layer_norm(layer.norm1, query + attention(layer.self_attn, query, keys, keys)[0])
    hidden = feed_forward(nn.Sequential(layer.linear1, layer.linear2), tokens)
    return layer_norm(layer.norm2, tokens + hidden)


def by_hand(model: CTran, features: Tensor, known: Tensor) -> Tensor:
    """The logits (L,) of one image with image tokens (N, d) and known labels (L,)."""
    assert model.latents is not None
    states = model.state_embedding.weight[known.long() + 1]
    image, latents, labels = (
        layer_norm(model.norm, tokens) for tokens in (features, model.latents[0], model.label_embedding.weight + states)
    )
    for layer in model.encoder:
        latents = attended(layer, latents, torch.cat([image, latents, labels[known != -1]]))
        context = torch.cat([image, latents])
        image, labels = attended(layer, image, context), attended(layer, labels, context)
    return (labels * model.classifier_weight).sum(1) + model.classifier_bias


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"layers": 1}, {"layers": 3}, {"image": False}], ids=str)
def test_logits_are_those_of_the_equations(options: dict[str, Any]) -> None:
    """Image by image: rows with other numbers of known labels share a batch, none of them among the keys of others."""
    model = ctran(**options)
    known = torch.tensor([[1, 0, -1, -1, 1, -1], [-1, -1, -1, -1, -1, -1], [-1, -1, 0, -1, -1, -1]], dtype=torch.int8)
    features = model.encode(images(3))
    expected = torch.stack([by_hand(model, features[row], known[row]) for row in range(3)])
    torch.testing.assert_close(model.decode(features, known).logits, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_parts_of_the_labels_are_computed_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, known = ctran(), some_known(2, LABELS)
    expected = model(images(), known).logits
    assert PART > LABELS
    monkeypatch.setattr("tagformer.models.layers.latents.PART", 4)
    torch.testing.assert_close(model(images(), known).logits, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_cost_grows_in_proportion_to_the_labels() -> None:
    """Operations counted by torch: 100 more labels cost the same, however many there are; without latents, more."""

    def operations(labels: int, **options: Any) -> int:
        model = ctran(labels, **options)
        features, known = model.encode(images()), torch.full((2, labels), -1, dtype=torch.int8)
        known[:, :7] = 1
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # others are not counted on a CPU
            model.decode(features, known)
        return counter.get_total_flops()

    for options, is_linear in (({}, True), ({"latents": 0}, False)):
        first, second, third = (operations(labels, **options) for labels in (100, 200, 300))
        assert (third - second == second - first) is is_linear, options


@torch.no_grad()
def test_a_heat_map_is_the_attention_to_the_image() -> None:
    """The mean over layers and heads, here from the first layer's weights alone."""
    model, known = ctran(layers=1), some_known(2, LABELS)
    maps = model.heat_maps(images(), [3, 1], known)
    assert maps.shape == (2, 2, 4, 4)
    features = model.encode(images())
    assert model.latents is not None
    layer = model.encoder[0]
    for row in range(2):
        image, latents, labels = (
            layer_norm(model.norm, tokens)
            for tokens in (features[row], model.latents[0], model.label_tokens(known)[row])
        )
        context = torch.cat([image, attended(layer, latents, torch.cat([image, latents, labels[known[row] != -1]]))])
        weights = attention(layer.self_attn, labels[[3, 1]], context, context)[1].mean(0)
        torch.testing.assert_close(maps[row].flatten(1), weights[:, : len(image)], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(maps, model.heat_maps(images(), [3, 1]))
    with pytest.raises(TagformerError, match="with latents there is no attention of every token to every other"):
        model.attention(features, known)
