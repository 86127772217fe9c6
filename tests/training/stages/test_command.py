"""``tagformer train`` in stages, and of the other models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tagformer.recipes import Recipe
from tagformer.runs import Run
from tagformer.training import fit
from tagformer.training.stages.record import Record
from tests.helpers import CommandLine

SMALL = ("--data", "scenes?images=60", "--backbone", "tiny", "--set", "image.size=32", "--set", "data.workers=0")
STAGES = (
    *("--set", "stages.folds=5", "--set", "stages.weights=[0.0, 0.5]", "--set", "stages.decays=[0.05, 5.0]"),
    *("--set", "model.options={width: 8, layers: 1, heads: 2}", "--set", "training.epochs=1"),
)

pytestmark = pytest.mark.usefixtures("few_steps")


@pytest.mark.parametrize("model", [(), ("--model", "evidence")])
def test_without_a_recipe_training_is_in_stages(model: tuple[str, ...], tmp_path: Path, tagformer: CommandLine) -> None:
    out = tmp_path / "run"
    code, printed, error = tagformer("train", *SMALL, *STAGES, *model, "--minutes", 0.5, "--out", out)
    assert code == 0, error
    assert "Recipe evidence-auto" in printed
    assert "Plan for 0.5 minutes: features of 2 views" in printed
    assert re.search(r"linear +\d", printed)
    assert re.search(r"head +\d+\.\d .* yes", printed)
    assert re.search(r"mAP \d+\.\d on the test split; label frequencies alone give \d+\.\d", printed)
    assert "the validation images, by which the best epoch was chosen" not in printed
    record = Record.load(out)
    assert {"linear", "head", "co-occurrence", "network"} <= {stage.name for stage in record.stages}
    assert Run.load(out).recipe.stages is not None
    trained = json.loads((out / "metrics.json").read_text())
    code, _, error = tagformer("evaluate", out, "--tuned", "--out", tmp_path / "tuned.json")
    assert code == 0, error
    tuned = json.loads((tmp_path / "tuned.json").read_text())
    figures = ("CF1", "OF1", "threshold")
    assert [trained[name] for name in figures] == [tuned[name] for name in figures], "scored at the run's thresholds"
    assert trained["threshold"] != 0.5


def test_a_recipe_in_stages_is_not_planned_without_minutes(
    staged_recipe: Callable[..., Recipe], tmp_path: Path, tagformer: CommandLine
) -> None:
    staged_recipe().save(tmp_path / "mine.yaml")
    code, printed, error = tagformer("train", "--recipe", tmp_path / "mine.yaml", "--out", tmp_path / "one")
    assert code == 0, error
    assert "Plan for" not in printed
    again = ("train", "--recipe", tmp_path / "one" / "recipe.yaml", "--out", tmp_path / "two")
    code, printed, error = tagformer(*again)
    assert code == 0, error
    states = [Run.load(tmp_path / name).state() for name in ("one", "two")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    code, printed, error = tagformer(*again[:3], "--minutes", 0.5, "--out", tmp_path / "three")
    assert code == 0, error
    assert "Plan for 0.5 minutes" in printed


def test_another_model_with_a_recipe_in_stages_is_one_sentence(
    staged_recipe: Callable[..., Recipe], tmp_path: Path, tagformer: CommandLine
) -> None:
    staged_recipe().save(tmp_path / "mine.yaml")
    arguments = ("train", "--recipe", tmp_path / "mine.yaml", "--model", "csra", "--out", tmp_path / "run")
    code, _, error = tagformer(*arguments)
    assert code == 2
    assert "needs the model evidence, not csra: train it at once (--set stages=null)" in error
    code, _, error = tagformer(*arguments, "--set", "stages=null")
    assert code == 0, error
    assert not (tmp_path / "run" / "stages.json").exists()


def test_other_models_are_trained_at_once(tmp_path: Path, tagformer: CommandLine) -> None:
    out = tmp_path / "run"
    code, printed, error = tagformer(
        "train", *SMALL, "--model", "csra", "--set", "training.epochs=1", "--set", "training.ema=null", "--out", out
    )
    assert code == 0, error
    assert "Plan" not in printed
    assert (out / "history.csv").is_file()
    assert not (out / "stages").exists()


@pytest.mark.parametrize("kept", [False, True])
def test_features_are_remembered_unless_the_network_was_trained(
    staged_recipe: Callable[..., Recipe], tmp_path: Path, tagformer: CommandLine, kept: bool
) -> None:
    out = tmp_path / "run"
    fit(staged_recipe("stages.finetune=false"), out)
    stages = json.loads((out / "stages.json").read_text())
    network = {**stages[-1], "name": "network", "kept": kept}
    (out / "stages.json").write_text(json.dumps([*stages, network]))
    figures = []
    for number, options in enumerate(((), (), ("--cache-gb", 0))):
        code, printed, error = tagformer("evaluate", out, "--out", tmp_path / f"{number}.json", *options)
        assert code == 0, error
        state = "41 kB to compute" if number == 0 else "all there already"
        assert ("10 images x 1 view" in printed and state in printed) == (not kept and number < 2)
        figures.append(json.loads((tmp_path / f"{number}.json").read_text()))
    assert figures[0] == figures[1]
    assert figures[0]["mAP"] == pytest.approx(figures[2]["mAP"], abs=2e-3)  # half precision
    (out / "stages.json").write_text("7")
    code, _, error = tagformer("evaluate", out)
    assert code == 2
    assert "stages.json is not a record of stages" in error
