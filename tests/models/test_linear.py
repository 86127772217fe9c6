"""The linear baseline."""

from __future__ import annotations

import pytest
import torch

from tagformer.models import Linear
from tests.models.contract import ModelContract
from tests.small_models import LABELS, images, small


class TestLinear(ModelContract):
    name = "linear"


@torch.no_grad()
def test_linear_is_the_mean_over_positions_and_one_matrix() -> None:
    model = small("linear")
    assert isinstance(model, Linear)
    last = model.backbone(images(3))[-1]
    for row in range(3):
        pooled = [last[row, channel].mean().item() for channel in range(last.shape[1])]
        for label in range(LABELS):
            weights = model.classifier.weight[label].tolist()
            expected = sum(w * x for w, x in zip(weights, pooled, strict=True)) + model.classifier.bias[label].item()
            assert model(images(3)).logits[row, label].item() == pytest.approx(expected, abs=1e-5)
