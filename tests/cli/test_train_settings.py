"""``tagformer train`` with another model than its recipe's, and ``--resume`` where it must not change a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tagformer.recipes import load_recipe
from tests.helpers import CommandLine

SMALL = ("--backbone", "tiny", "--set", "training.epochs=1", "--set", "image.size=32", "--set", "data.workers=0")
DATA = ("--data", "scenes?images=96&faint=0")


@pytest.mark.parametrize("model", ["linear", "cat"])
def test_a_recipe_trains_another_model(tagformer: CommandLine, tmp_path: Path, model: str) -> None:
    assert "model.options.image_dropout" in load_recipe("scenes-ctran").sources, "the case that this test is about"
    size = () if model == "linear" else ("--set", "model.options.width=16")
    command = ("train", "--recipe", "scenes-ctran", "--model", model, *DATA, *SMALL, *size, "--out", tmp_path / "run")
    code, printed, error = tagformer(*command)
    assert code == 0, error
    assert f"Options of ctran that {model} does not have are left out: " in printed
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe["model"]["name"] == model
    sources = {key for key in recipe["sources"] if key.startswith("model.options.")}
    assert {key.removeprefix("model.options.") for key in sources} <= recipe["model"]["options"].keys()


def test_a_refused_resume_leaves_the_recipe_unchanged(tagformer: CommandLine, small_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / "labels.json").write_text("{")
    before = (run / "recipe.yaml").read_bytes()
    code, _, error = tagformer("train", "--resume", "--on-bad-image", "skip", "--out", run)
    assert code == 2
    assert "labels.json, line 1: not valid JSON" in error
    assert (run / "recipe.yaml").read_bytes() == before


def test_resume_does_not_train_over_weights_without_a_checkpoint(
    tagformer: CommandLine, small_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    shutil.rmtree(run / "checkpoints")
    before = {name: (run / name).read_bytes() for name in ("recipe.yaml", "model.safetensors", "history.csv")}
    code, _, error = tagformer("train", "--resume", "--on-bad-image", "skip", "--out", run)
    assert code == 2
    assert "has weights but no checkpoints/last.ckpt to go on from: train into another --out" in error
    assert {name: (run / name).read_bytes() for name in before} == before
    (run / "model.safetensors").unlink()
    code, _, error = tagformer("train", "--resume", "--out", run)
    assert code == 0, error
    assert (run / "model.safetensors").is_file()
