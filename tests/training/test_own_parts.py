"""Own parts that are good train like built-in ones, and what they cannot do is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tagformer import Tagger, create_model
from tagformer.errors import TagformerError
from tagformer.recipes import Recipe
from tagformer.runs import Run
from tagformer.training import Reporter, fit
from tests.helpers import assert_same_weights
from tests.own_parts import settings

Recipes = Callable[..., Recipe]
pytestmark = pytest.mark.usefixtures("own_parts")


def test_tied_weights_are_saved_and_loaded(small_recipe: Recipes, tmp_path: Path) -> None:
    fit(small_recipe(*settings("own:Tied")), tmp_path / "run")
    state = Run.load(tmp_path / "run").state()
    assert torch.equal(state["classifier.weight"], state["alias.weight"])
    assert torch.equal(state["classifier.weight"], state["other.weight"])
    model = Run.load(tmp_path / "run").model()
    assert model.other.weight is model.classifier.weight
    assert torch.equal(model.classifier.weight, state["classifier.weight"])


def test_the_trial_changes_neither_weights_nor_draws(small_recipe: Recipes, tmp_path: Path) -> None:
    for name, loss in {"tried": "own:good", "not tried": "bce"}.items():
        fit(small_recipe("training.epochs=2", f"loss.name={loss}"), tmp_path / name)
    assert_same_weights(Run.load(tmp_path / "tried").state(), Run.load(tmp_path / "not tried").state())


def test_a_model_with_known_labels_trains(small_recipe: Recipes, tmp_path: Path) -> None:
    fit(small_recipe(*settings("own:Knowing", "own:Maps")), tmp_path / "run")
    assert Run.load(tmp_path / "run").uses_known


def test_a_list_of_head_prefixes_starts_from_another_run(small_recipe: Recipes, tmp_path: Path) -> None:
    fit(small_recipe(*settings("own:Good")), tmp_path / "first")
    lines: list[str] = []
    recipe = small_recipe(*settings("own:Good"), f"model.init={tmp_path / 'first'}")
    fit(recipe, tmp_path / "second", reporter=Reporter(lines.append))
    assert any("the heads are new" in line for line in lines)


def test_heat_maps_need_the_last_feature_map(small_recipe: Recipes, tmp_path: Path) -> None:
    fit(small_recipe(*settings("own:FirstMap")), tmp_path / "run")
    with pytest.raises(TagformerError, match="do not depend on the last feature map of its backbone, so Grad-CAM"):
        Tagger.load(tmp_path / "run").explain(Image.new("RGB", (32, 32), "red"))


@pytest.mark.parametrize(
    ("name", "reason"), [("Good", "has no output_bias"), ("OtherBias", "has an output_bias that is not of shape")]
)
def test_frequencies_need_a_bias(small_recipe: Recipes, tmp_path: Path, name: str, reason: str) -> None:
    recipe = small_recipe(*settings(f"own:{name}"), "model.start_from_frequencies=true")
    with pytest.raises(TagformerError, match=f"the model {name} {reason}.* set model.start_from_frequencies=false"):
        fit(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["name", "labels", "backbone", "pretrained"])
def test_an_option_cannot_have_the_name_of_a_setting(small_recipe: Recipes, tmp_path: Path, option: str) -> None:
    with pytest.raises(TagformerError, match=f"model.options.{option} is not an option of the model: set model.name"):
        fit(small_recipe(*settings("own:Good"), f"model.options.{option}=x"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_backbone_option_cannot_be_called_name(small_recipe: Recipes, tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"model\.backbone\.options\.name is not an option of the network"):
        fit(small_recipe(*settings(backbone="own:Maps"), "model.backbone.options.name=x"), tmp_path / "run")


def test_type_hints_of_options_are_checked_alone() -> None:
    model = create_model("own:Good", ["cat", "dog"], "tiny", dropout="0.25")
    assert model.dropout.p == 0.25, "the hint LabelSpace exists for type checkers only"
    with pytest.raises(TagformerError, match="option dropout=x: input should be a valid number"):
        create_model("own:Good", ["cat", "dog"], "tiny", dropout="x")
    create_model("own:WrongHint", ["cat", "dog"], "tiny")
    with pytest.raises(TagformerError, match="the type hint 'flot' of its option 'dropout' failed: NameError"):
        create_model("own:WrongHint", ["cat", "dog"], "tiny", dropout=0.2)
