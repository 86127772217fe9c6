"""MlTr: its size, the arc sigmoid, and the object-aware token."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.models import create_model
from tests.models.contract import ModelContract


class TestMlTr(ModelContract):
    name = "mltr"
    heat_map_side = 2
    has_output_bias = False


class TestMlTrWithoutLossOptimizations(ModelContract):
    name = "mltr"
    options: ClassVar[dict[str, Any]] = {"arc_sigmoid": None, "object_aware_token": False}
    heat_map_side = 2
    unused_weights = ("token_weight",)


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "millions", "printed"), [("mltr_s", 32.8, 33), ("mltr_m", 62.2, 62), ("mltr_l", 109.6, 108)]
)
def test_parameters_are_those_of_table_2(name: str, millions: float, printed: float) -> None:
    model = create_model("mltr", 80, name, pretrained=False)
    assert round(parameters(model) / 1e6, 1) == millions
    assert abs(parameters(model) / 1e6 / printed - 1) < 0.02


def test_the_arc_sigmoid_is_the_scaled_cosine() -> None:
    model = create_model("mltr", 4, "mltr_tiny", pretrained=False, arc_sigmoid=8).eval()
    mean = torch.randn(3, 256)
    hidden = torch.nn.functional.gelu(model.hidden(mean))
    logits = model.class_head(mean)
    for row in range(3):
        for label in range(4):
            weight = model.classifier.weight[label]
            cosine = hidden[row] @ weight / (hidden[row].norm() * weight.norm())
            torch.testing.assert_close(logits[row, label], 8 * cosine)
    assert logits.abs().max() <= 8
    with pytest.raises(TagformerError, match="arc sigmoid has no bias"):
        model.start_from_frequencies(torch.full((4,), 0.5))


def test_the_object_aware_token_counts_the_target_labels() -> None:
    space = LabelSpace(("a", "b", "c"), extra=frozenset({"c"}))
    model = create_model("mltr", space, "mltr_tiny", pretrained=False).eval()
    images = torch.randn(2, 3, 96, 96)
    output = model(images)
    assert output.logits.shape == (2, 3)
    assert output.count_logits.shape == (2, 3)  # none, one or both of a and b
    plain = create_model("mltr", space, "mltr_tiny", pretrained=False, object_aware_token=False).eval()
    assert plain(images).count_logits is None
    torch.nn.init.normal_(model.object_aware_token, std=5.0)
    assert not torch.allclose(model(images).logits, output.logits)  # the positions attend to the token


def test_the_network_is_a_backbone_of_other_models() -> None:
    for name in ("linear", "ctran", "fpn", "cat"):
        model = create_model(name, 3, "mltr_tiny", pretrained=False, **({} if name == "linear" else {"width": 32}))
        assert model(torch.randn(2, 3, 96, 96)).logits.shape == (2, 3)
    with pytest.raises(TagformerError, match="its backbone must be an MlTr"):
        create_model("mltr", 3, "tiny")
