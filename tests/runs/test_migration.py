"""The format's version of a run folder, and names of options and weights that have changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tagformer import Tagger
from tagformer.backbones import create_backbone
from tagformer.errors import TagformerError
from tagformer.models import MODELS, create_model
from tagformer.models.renamed import KEYS, OPTIONS
from tagformer.recipes import Recipe, load_recipe
from tagformer.runs.migration import FORMAT_VERSION, with_current_names
from tagformer.runs.run import Run, model_from_recipe
from tagformer.runs.warm_start import start_from_run
from tagformer.training import fit

Recipes = Callable[..., Recipe]
MLTR = (
    "model.name=mltr",
    "model.options={}",
    "model.backbone.name=mltr_tiny",
    "model.backbone.options={patch: 2}",
    "training.ema=0.9",
    "training.epochs=2",
)


def replace_version(run: Path, version: Any) -> None:
    content = json.loads((run / "labels.json").read_text())
    (run / "labels.json").write_text(json.dumps({**content, "format_version": version}))


def test_a_new_run_has_the_current_version(small_run: Path) -> None:
    assert json.loads((small_run / "labels.json").read_text())["format_version"] == FORMAT_VERSION == 1
    assert Run.load(small_run).format_version == 1


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (2, "run was written by a newer version of Tagformer; upgrade with pip install --upgrade tagformer."),
        ("one", "run: the format version must be a whole number, not 'one'."),
        (-1, "run: the format version must be a whole number, not -1."),
    ],
)
def test_other_versions_are_rejected(small_run: Path, tmp_path: Path, version: Any, message: str) -> None:
    shutil.copytree(small_run, tmp_path / "run")
    replace_version(tmp_path / "run", version)
    with pytest.raises(TagformerError) as caught:
        Run.load(tmp_path / "run")
    assert str(caught.value) == f"{tmp_path}/{message}"


def test_old_names_of_weights_become_those_of_today() -> None:
    state = {"backbone.norm.weight": torch.zeros(2), "token": torch.ones(2)}
    today = with_current_names(state, "mltr", {"backbone.norm.weight", "object_aware_token"})
    assert list(today) == ["backbone.norm.weight", "object_aware_token"]
    assert torch.equal(today["object_aware_token"], state["token"])
    assert with_current_names(today, "mltr", today) == today
    assert list(with_current_names({"model.token": state["token"]}, "mltr", (), "model.")) == [
        "model.object_aware_token"
    ]
    assert list(with_current_names(state, "ctran", ())) == list(state), "the names of another model stay"


@pytest.fixture(scope="module")
def mltr_run(tmp_path_factory: pytest.TempPathFactory, small_recipe: Recipes) -> Path:
    """A small MlTr, trained."""
    folder = tmp_path_factory.mktemp("runs") / "mltr"
    fit(small_recipe(*MLTR), folder)
    return folder


def old_names(state: dict[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """The state dict with the names that version 0 had."""
    before = {prefix + new: prefix + old for old, new in KEYS["mltr"].items()}
    return {before.get(name, name): weight for name, weight in state.items()}


@pytest.fixture
def old_run(mltr_run: Path, tmp_path: Path) -> Path:
    """The same run as version 0 would have written it."""
    run = tmp_path / "old"
    shutil.copytree(mltr_run, run)
    content = json.loads((run / "labels.json").read_text())
    for key in ("format_version", "run", "digest"):
        del content[key]
    (run / "labels.json").write_text(json.dumps(content))
    text = (run / "recipe.yaml").read_text()
    for old, new in OPTIONS["mltr"].items():
        text = text.replace(f"{new}:", f"{old}:")
    if "    object_token:" not in text:  # a recipe does not spell out the model's defaults
        text = text.replace("  options: {}\n  init:", "  options:\n    object_token: true\n  init:")
    assert "    object_token: true\n" in text
    (run / "recipe.yaml").write_text(text)
    save_file(old_names(load_file(run / "model.safetensors")), run / "model.safetensors")
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=False)
    for part in ("state_dict", "current_model_state"):
        checkpoint[part] = old_names(checkpoint[part], "model.")
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    return run


def test_an_old_mltr_predicts_the_same(mltr_run: Path, old_run: Path) -> None:
    assert "token" in load_file(old_run / "model.safetensors")
    assert set(Run.load(old_run).recipe.model.options) <= set(MODELS["mltr"].options())
    picture = Image.new("RGB", (60, 40), (200, 120, 20))
    today, old = (Tagger.load(run).predict(picture)[0].probabilities for run in (mltr_run, old_run))
    assert torch.equal(today, old)


def test_an_old_mltr_gives_its_weights_to_a_new_run(mltr_run: Path, old_run: Path) -> None:
    run = Run.load(mltr_run)
    counts, tokens = [], []
    for folder in (mltr_run, old_run):
        torch.manual_seed(1)
        model = model_from_recipe(run.recipe, run.label_space)
        counts.append(start_from_run(model, folder))
        tokens.append(next(w for name, w in model.state_dict().items() if name.endswith("token")))
    assert counts[0] == counts[1]
    assert torch.equal(tokens[0], tokens[1])


def test_an_old_mltr_goes_on_with_its_training(mltr_run: Path, old_run: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(mltr_run, whole)
    for run in (whole, old_run):
        fit(load_recipe(run / "recipe.yaml").overridden(["training.epochs=3"]), run, resume=True)
    left, right = (Run.load(run).model().state_dict() for run in (whole, old_run))
    for name, weight in left.items():
        assert torch.equal(weight, right[name]), name


def test_recipe_files_with_old_names_of_options_are_read(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("base: mltr-coco80\nmodel: {options: {object_token: false, arc_sigmoid: 4.0}}\n")
    options = load_recipe(file).model.options
    assert options["arc_sigmoid"] == 4
    assert [value for name, value in options.items() if name.startswith("object_")] == [False]
    assert set(options) <= set(MODELS["mltr"].options())


def test_old_names_of_options_work_wherever_they_are_given() -> None:
    recipe = load_recipe("mltr-coco80").overridden(["model.options.object_token=false"])
    assert recipe.model.options["object_aware_token"] is False
    assert "object_token" not in recipe.model.options
    backbone = create_backbone("mltr_tiny", False, image_size=32, patch=2)
    assert create_model("mltr", 3, backbone, object_token=False).object_aware_token is None
