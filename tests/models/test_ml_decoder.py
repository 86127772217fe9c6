"""ML-Decoder against the equations of its layer, written with plain matrices."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from tagformer.errors import TagformerError
from tagformer.models import MLDecoder
from tests.models.contract import ModelContract
from tests.models.transformer_reference import attention, feed_forward, layer_norm
from tests.small_models import images, randomise_vectors, small


class TestMLDecoder(ModelContract):
    name = "ml_decoder"


class TestMLDecoderWithGroups(ModelContract):
    name = "ml_decoder"
    options: ClassVar[dict[str, Any]] = {"queries": 3}


def ml_decoder(labels: int = 4, **options: object) -> MLDecoder:
    """A small model whose biases and norms are random, so that none can be forgotten."""
    model = small("ml_decoder", labels, **options)
    assert isinstance(model, MLDecoder)
    randomise_vectors(model)
    return model


def reference(model: MLDecoder, last_map: Tensor, queries: int) -> list[float]:
    """The logits of one image, from its last map (C, h, w)."""
    embedding = model.image_embedding[0]
    assert isinstance(embedding, nn.Linear)
    image = (last_map.flatten(1).T @ embedding.weight.T + embedding.bias).clamp(min=0)
    tokens = layer_norm(model.query_norm, 2 * model.query_embedding)  # q + dropout(q), without dropout
    attended, _ = attention(model.decoder.attention, tokens, image, image)
    tokens = layer_norm(model.decoder.attention_norm, tokens + attended)
    tokens = layer_norm(model.decoder.feed_forward_norm, tokens + feed_forward(model.decoder.feed_forward, tokens))
    count = len(model.label_space)
    size = math.ceil(count / queries)
    logits = []
    for label in range(count):
        query, place = divmod(label, size)
        logit = sum(tokens[query, d] * model.group_weight[query, d, place] for d in range(tokens.shape[1]))
        logits.append(float(logit + model.classifier_bias[label]))
    return logits


@pytest.mark.parametrize(("labels", "asked", "queries"), [(4, 100, 4), (7, 3, 3), (6, 3, 3), (5, 4, 4), (5, 1, 1)])
@torch.no_grad()
def test_the_logits_are_those_of_the_equations(labels: int, asked: int, queries: int) -> None:
    model = ml_decoder(labels, queries=asked)
    assert model.query_embedding.shape == (queries, 16)
    pixels = images()
    found, maps = model(pixels).logits, model.backbone(pixels)
    for row in range(2):
        assert found[row].tolist() == pytest.approx(reference(model, maps[-1][row], queries), abs=1e-4)


def test_a_query_serves_as_many_labels_as_needed() -> None:
    """1,000 labels and 100 queries: 10 labels each; 101 labels: 2 each."""
    assert ml_decoder(1000).group_weight.shape == (100, 16, 10)
    assert ml_decoder(101).group_weight.shape == (100, 16, 2)
    assert ml_decoder(100).group_weight.shape == (100, 16, 1)


def test_queries_are_not_learned_but_kept() -> None:
    model, other = ml_decoder(), ml_decoder()
    assert "query_embedding" not in dict(model.named_parameters())
    assert "query_embedding" in model.state_dict()
    model.train()(images()).logits.sum().backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    assert torch.equal(model.query_embedding, other.query_embedding)  # the same seed


def test_in_training_the_query_is_added_to_itself_after_dropout() -> None:
    """q + dropout(q) is q where a channel is dropped, and q (1 + 1 / (1 - p)) elsewhere."""
    model = ml_decoder(dropout=0.5).train()
    seen: list[Tensor] = []
    model.query_norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    model(images())
    factors = (seen[0] / model.query_embedding).round(decimals=6).unique().tolist()
    assert factors == pytest.approx([1.0, 3.0])


def test_the_authors_sizes() -> None:
    options = MLDecoder.options()
    assert options == {"width": 768, "queries": 100, "heads": 8, "feedforward": 2048, "dropout": 0.1}
    model = small("ml_decoder", 250, width=64, queries=100)
    assert isinstance(model, MLDecoder)
    fans = 64 * 3 + 100 * 3  # Xavier-normal, of a tensor (queries, width, labels per query)
    assert model.group_weight.std().item() == pytest.approx(math.sqrt(2 / fans), rel=0.03)


def test_impossible_options() -> None:
    with pytest.raises(TagformerError, match="ml_decoder: 8 heads do not divide the width 12"):
        small("ml_decoder", width=12, heads=8)
    with pytest.raises(TagformerError, match="option queries=0"):
        small("ml_decoder", queries=0)
