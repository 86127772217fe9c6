"""Recipes chosen from the data."""

from __future__ import annotations

import pytest

from tagformer.data import load_dataset
from tagformer.models import MODELS, create_model
from tagformer.training.auto_recipe import plan_recipe


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"mltr"}))
@pytest.mark.parametrize("labels", [12, 300])
def test_the_planned_options_are_those_of_the_model(name: str, labels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    recipe = plan_recipe(load_dataset("scenes?images=24", "train"), name, "resnet18")
    assert recipe.model.name == name
    model = create_model(name, labels, "tiny", **recipe.model.options)
    assert sum(weight.numel() for weight in model.parameters()) < 5e6  # light enough for two cores
    backbone_rate = recipe.optimizer.lr * recipe.optimizer.backbone_lr_factor
    assert backbone_rate == pytest.approx({"ctran": 1.5e-4, "evidence": 3e-4}.get(name, 1e-4), rel=0.02)


def test_a_backbone_without_weights_learns_as_fast_as_the_rest() -> None:
    recipe = plan_recipe(load_dataset("scenes?images=24", "train"), "query2label", "tiny")
    assert (recipe.optimizer.lr, recipe.optimizer.backbone_lr_factor) == (1e-3, 1.0)


@pytest.mark.parametrize(
    ("backbone", "sizes"), [("resnet18", (64, 96)), ("vit_tiny_patch16_224", ()), ("tiny", ()), ("mltr_s", ())]
)
def test_a_larger_size_is_tried_with_pretrained_weights_for_any_size(backbone: str, sizes: tuple[int, ...]) -> None:
    """The drawings have 64 pixels a side; a vision transformer of timm has a fixed size."""
    stages = plan_recipe(load_dataset("scenes?images=24", "train"), backbone=backbone).stages
    assert stages is not None
    assert stages.sizes == sizes
