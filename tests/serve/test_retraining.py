"""The recipe of a training on answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagformer.data import load_dataset
from tagformer.runs import Run
from tagformer.runs.run import write_labels
from tagformer.serve.workspace.retraining import retraining_recipe
from tagformer.training.auto_recipe import plan_recipe
from tagformer.training.stages.record import Record, Stage

SPEC = "scenes?images=60"


@pytest.fixture
def staged_run(tmp_path: Path) -> Path:
    """What retraining reads of a run of the default model: its automatic recipe, and the record of its stages."""
    recipe = plan_recipe(load_dataset(SPEC), backbone="tiny").overridden([f"data.spec={SPEC}"])
    recipe.save(tmp_path / "staged" / "recipe.yaml")
    write_labels(tmp_path / "staged", load_dataset(SPEC).label_space)
    Record(tmp_path / "staged").add(Stage("head", 0.5))
    return tmp_path / "staged"


def test_an_automatic_recipe_trains_again(tmp_path: Path, staged_run: Path) -> None:
    """It has no validation images and an encoder that was not kept, which must not be trained on evidence in fold."""
    recipe = Run.load(staged_run).recipe
    assert recipe.data.val_fraction == 0
    changed = retraining_recipe(recipe, tmp_path / "data", staged_run)
    assert (changed.training.keep, changed.model.options["layers"]) == ("best", 0)
    record = Record.load(staged_run)
    record.add(Stage("evidence", 0.9))
    kept = retraining_recipe(recipe, tmp_path / "data", staged_run)
    assert kept.model.options == recipe.model.options
    assert recipe.model.options.get("layers") != 0
