"""Query2Label against the equations of its layers, written with plain matrices."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from tagformer.errors import TagformerError
from tagformer.models import Query2Label
from tagformer.models.layers.positions import sine_positions
from tagformer.models.query2label import LabelDecoderLayer
from tests.models.contract import ModelContract
from tests.models.transformer_reference import attention, feed_forward, layer_norm
from tests.small_models import LABELS, images, randomise_vectors, small


class TestQuery2Label(ModelContract):
    name = "query2label"


class TestQuery2LabelWithSelfAttention(ModelContract):
    name = "query2label"
    options: ClassVar[dict[str, Any]] = {"self_attention": True, "encoder_layers": 0}


def query2label(**options: object) -> Query2Label:
    """A small model whose biases and norms are random, so that none can be forgotten."""
    model = small("query2label", **options)
    assert isinstance(model, Query2Label)
    randomise_vectors(model)
    return model


def positions(height: int, width: int, channels: int) -> Tensor:
    """DETR's normalised sine positions (Carion et al. 2020), (height * width, channels), value by value."""
    table = torch.zeros(height * width, channels)
    half = channels // 2
    for row in range(height):
        for column in range(width):
            for offset, place, count in ((0, row, height), (half, column, width)):
                for channel in range(half):
                    angle = 2 * math.pi * (place + 1) / count / 10_000 ** (2 * (channel // 2) / half)
                    value = math.cos(angle) if channel % 2 else math.sin(angle)
                    table[row * width + column, offset + channel] = value
    return table


def reference(model: Query2Label, last_map: Tensor) -> tuple[Tensor, Tensor]:
    """The logits (L,) of one image and the attention of the labels (L, h w), from its last map (C, h, w)."""
    _, height, width = last_map.shape
    image = last_map.flatten(1).T
    if isinstance(model.projection, nn.Conv2d):
        image = image @ model.projection.weight[:, :, 0, 0].T + model.projection.bias
    place = positions(height, width, image.shape[1])
    for layer in model.encoder:
        attended, _ = attention(layer.attention, image + place, image + place, image)
        image = layer_norm(layer.attention_norm, image + attended)
        image = layer_norm(layer.feed_forward_norm, image + feed_forward(layer.feed_forward, image))
    embedding, maps = model.label_embedding.weight, []
    labels = torch.zeros_like(embedding)
    for layer in model.decoder:
        assert isinstance(layer, LabelDecoderLayer)
        if layer.self_attention is not None:
            attended, _ = attention(layer.self_attention, labels + embedding, labels + embedding, labels)
            labels = layer_norm(layer.self_attention_norm, labels + attended)
        attended, weights = attention(layer.attention, labels + embedding, image + place, image)
        maps.append(weights.mean(0))
        labels = layer_norm(layer.attention_norm, labels + attended)
        labels = layer_norm(layer.feed_forward_norm, labels + feed_forward(layer.feed_forward, labels))
    labels = layer_norm(model.decoder_norm, labels)
    logits = (labels * model.classifier_weight).sum(1) + model.classifier_bias
    return logits, torch.stack(maps).mean(0)


@pytest.mark.parametrize(
    "options",
    [{}, {"self_attention": True}, {"encoder_layers": 2, "decoder_layers": 1}, {"encoder_layers": 0}, {"width": None}],
)
@torch.no_grad()
def test_the_logits_and_the_heat_maps_are_those_of_the_equations(options: dict[str, Any]) -> None:
    model = query2label(**options)
    maps = model.backbone(torch.randn(2, 3, 32, 64))  # not a square: row and column differ
    features = model.encode_maps(maps)
    for row in range(2):
        logits, _ = reference(model, maps[-1][row])
        torch.testing.assert_close(model.decode(features).logits[row], logits, rtol=1e-4, atol=1e-4)
    pixels = images()
    found = model.heat_maps(pixels, [3, 1])
    for row in range(2):
        _, weights = reference(model, model.backbone(pixels)[-1][row])
        torch.testing.assert_close(found[row], weights[[3, 1]].reshape(2, 4, 4), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.sum((2, 3)), torch.ones(2, 2))


def test_normalised_positions() -> None:
    torch.testing.assert_close(sine_positions(3, 5, 8, normalised=True), positions(3, 5, 8))


def test_the_paper_s_sizes() -> None:
    """On a network with 2,048 channels: d = 2048, no projection, feed-forward networks of 8,192."""
    options = Query2Label.options()
    assert (options["heads"], options["encoder_layers"], options["decoder_layers"], options["dropout"]) == (
        4,
        1,
        2,
        0.1,
    )
    model = query2label(width=None)
    channels = model.backbone.channels[-1]
    assert isinstance(model.projection, nn.Identity)
    assert model.label_embedding.weight.shape == (LABELS, channels)
    assert all(layer.feed_forward[0].out_features == 4 * channels for layer in (*model.encoder, *model.decoder))
    assert all(layer.self_attention is None for layer in model.decoder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "heads": 4}, "query2label: 4 heads do not divide the width 10"),
        ({"width": 6, "heads": 2}, "width that is a multiple of 4, not 6"),
        ({"decoder_layers": 0}, "option decoder_layers=0"),
        ({"encoder_layers": -1}, "option encoder_layers=-1"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TagformerError, match=message):
        small("query2label", **options)
