"""What the tests of training in stages share: a recipe whose stages take a second together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tagformer.recipes import Recipe
from tagformer.training.stages import choice, staged, staged_heads
from tagformer.training.stages.cooccurrence import CooccurrenceTraining
from tagformer.training.stages.evidence import EvidenceTraining
from tagformer.training.stages.heads import HeadTraining

STAGED = {
    "data": {"spec": "scenes?images=60&faint=0", "batch_size": 12, "workers": 0, "val_fraction": 0},
    "image": {"size": 32},
    "model": {
        "name": "evidence",
        "backbone": {"name": "tiny", "pretrained": False, "freeze_norm": True},
        "options": {"width": 8, "layers": 1, "heads": 2},
    },
    "optimizer": {"lr": 1e-4},
    "training": {"epochs": 2, "keep": "last"},
    "stages": {"folds": 5, "weights": [0.5], "decays": [0.05], "encoder_images": 0},
}


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads and encoders take few steps."""
    heads = functools.partial(HeadTraining, min_steps=40)
    encoder = functools.partial(EvidenceTraining, min_steps=20, max_steps=20)
    monkeypatch.setattr(staged_heads, "HeadTraining", heads)
    monkeypatch.setattr(choice, "LEAST_STEPS", 40)
    monkeypatch.setattr(staged, "CooccurrenceTraining", functools.partial(CooccurrenceTraining, steps=20))
    monkeypatch.setattr(staged, "EvidenceTraining", encoder)


@pytest.fixture
def staged_recipe(few_steps: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recipe]:
    """A recipe in stages; ``staged_recipe("stages.folds=3", ...)`` overrides it. The cache is a folder of the test."""
    monkeypatch.setenv("TAGFORMER_CACHE", str(tmp_path / "cache"))
    return lambda *overrides: Recipe.checked(STAGED, "the test's recipe").overridden(overrides)
