from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from tagformer.errors import TagformerError
from tagformer.models import MODELS
from tagformer.recipes import Recipe, list_recipes, load_recipe
from tagformer.recipes.recipe import parse_value


def write(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return file


# Reading


@pytest.mark.parametrize("name", sorted(list_recipes()))
def test_a_built_in_recipe_is_named_like_its_file_and_says_where_it_comes_from(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.source != Recipe().source
    assert set(recipe.model.options) <= set(MODELS[recipe.model.name].options())


def test_a_recipe_says_only_what_differs_from_the_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, "optimizer: {lr: 5e-4}\nimage:\n  size: 96\n  mean: [0.1, 0.2, 0.3]\n")
    recipe = load_recipe(file)
    assert recipe.optimizer.lr == 0.0005
    assert recipe.image.size == 96
    assert recipe.image.mean == (0.1, 0.2, 0.3)
    assert recipe.optimizer.weight_decay == Recipe().optimizer.weight_decay
    assert recipe.training == Recipe().training


def test_recipes_do_not_share_their_sections() -> None:
    first, second = Recipe(), Recipe()
    first.image.size = 99
    first.model.backbone.freeze_norm = True
    first.model.options["width"] = 3
    assert second.image.size == 224
    assert not second.model.backbone.freeze_norm
    assert second.model.options == {}


@pytest.mark.parametrize("name", ["tiny", "mltr_tiny"])
def test_a_backbone_that_has_no_weights_starts_from_random_ones_by_itself(name: str) -> None:
    assert Recipe().model.backbone.pretrained
    assert not Recipe.checked({"model": {"backbone": {"name": name}}}, "here").model.backbone.pretrained
    assert not Recipe().overridden([f"model.backbone.name={name}"]).model.backbone.pretrained


@pytest.mark.parametrize("text", ["1e-4", "2E-3", "1.5e3", "1e5", "-2e-1", "+1e+2", ".5e-3", "0.25"])
def test_a_number_with_an_exponent_is_a_number(text: str) -> None:
    value = parse_value(text)
    assert isinstance(value, float)
    assert value == float(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("true", True), ("null", None), ("[0.6, 1]", [0.6, 1]), ("resnet50", "resnet50"), ("1e", "1e")],
)
def test_other_values_are_read_as_yaml(text: str, value: object) -> None:
    assert parse_value(text) == value


# Writing


def test_a_saved_recipe_reads_back_the_same_with_every_default(tmp_path: Path) -> None:
    recipe = load_recipe("scenes-ctran").overridden(["image.mean=[0.1, 0.2, 0.3]", "training.loggers=[csv]"])
    recipe.save(tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe
    text = (tmp_path / "recipe.yaml").read_text(encoding="utf-8")
    assert "patience" in text
    assert "min_unknown: 0.25" in text


@pytest.mark.parametrize("name", ["1e5", "1e-4", "yes", "null", "Größe: 3 # not a comment", "5", "2020-01-01"])
def test_text_that_looks_like_something_else_is_still_text_when_read_back(tmp_path: Path, name: str) -> None:
    Recipe(name=name).save(tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml").name == name


# Overriding


def test_dotted_keys_override_values_and_leave_the_recipe_alone() -> None:
    recipe = load_recipe("scenes-ctran")
    before = recipe.model_dump()
    changed = recipe.overridden(
        ["optimizer.lr=1e-4", "model.backbone.name=resnet18", "model.options.width=64", "data.spec=csv:a=b.csv"]
    )
    assert recipe.model_dump() == before
    assert changed.optimizer.lr == 0.0001
    assert changed.model.backbone.name == "resnet18"
    assert changed.model.options == {**recipe.model.options, "width": 64}
    assert changed.data.spec == "csv:a=b.csv"
    assert changed.training == recipe.training


def test_without_assignments_nothing_changes() -> None:
    recipe = load_recipe("scenes-ctran")
    assert recipe.overridden([]) == recipe


def test_an_overridden_value_loses_its_source() -> None:
    recipe = load_recipe("scenes-ctran")
    assert "known.min_unknown" in recipe.sources
    changed = recipe.overridden(["known.min_unknown=0.5"])
    assert "known.min_unknown" not in changed.sources
    assert "model.options.image_dropout" in changed.sources


@pytest.mark.parametrize("assignment", ["model.options={width: 64}", "model.options={}"])
def test_an_overridden_section_loses_the_sources_of_what_was_in_it(assignment: str) -> None:
    changed = load_recipe("scenes-ctran").overridden([assignment])
    assert "model.options.image_dropout" not in changed.sources
    assert "known.min_unknown" in changed.sources


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimizer.lr", "--set optimizer.lr: write KEY=VALUE"),
        ("optimiser.lr=1", "--set: unknown key 'optimiser' (did you mean 'optimizer'?)"),
        ("optimizer.rate=1", "--set: unknown key 'optimizer.rate'"),
        ("optimizer.wieght_decay=1", "--set: unknown key 'optimizer.wieght_decay' (did you mean 'weight_decay'?)"),
        ("model.backbone.nmae=resnet18", "'model.backbone.nmae' (did you mean 'name'?)"),
        ("optimizer.lr.high=1", "'lr' is a value, not a section"),
        ("optimizer.lr=-1", "--set: optimizer.lr: input should be greater than 0, not -1"),
        ("optimizer.lr=fast", "--set: optimizer.lr: input should be a valid number"),
        ("optimizer.name=lion", "--set: optimizer.name: input should be 'adam', 'adamw' or 'sgd', not 'lion'"),
        ("data.batch_size=0", "--set: data.batch_size: "),
        ("data.batch_size=1.5", "--set: data.batch_size: "),
        ("training.precision=[", "value '[' is not valid YAML"),
        ("=5", "--set: unknown key ''"),
    ],
)
def test_an_assignment_that_makes_no_sense_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(TagformerError, match=re.escape(message)):
        Recipe().overridden([assignment])


def test_values_are_checked_when_they_are_set_later() -> None:
    recipe = Recipe()
    with pytest.raises(ValidationError):
        recipe.image.size = 2


def test_a_setting_is_found_by_its_dotted_key() -> None:
    recipe = load_recipe("scenes-ctran")
    assert recipe.value("optimizer.lr") == recipe.optimizer.lr
    assert recipe.value("model.options.width") == 128


# What is wrong, and where


def test_an_unknown_recipe_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(TagformerError, match=r"unknown recipe 'scene-ctran' \(did you mean 'scenes-ctran'\?\)"):
        load_recipe("scene-ctran")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer:\n  lr: 1e-3\n  lrs: 2\n", "unknown key 'optimizer.lrs' (did you mean 'lr'?)"),
        ("optimizer:\n  lr: 0\n", "optimizer.lr: input should be greater than 0, not 0"),
        ("optimizer: fast\n", "optimizer: "),
        ("sources: {optimizer.lrs: paper}\n", "sources names 'optimizer.lrs', which is not a setting"),
        ("a: [1\nb: 2\n", "line 2: not valid YAML"),
        ("- 1\n- 2\n", "it must be a mapping of settings"),
        ("", "it must be a mapping of settings"),
    ],
)
def test_a_faulty_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(TagformerError, match=re.escape(message)) as caught:
        load_recipe(file)
    assert str(file) in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"cannot read recipe .*none\.yaml: No such file"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: Größe".encode("latin-1"))
    with pytest.raises(TagformerError, match=r"cannot read recipe .*latin\.yaml"):
        load_recipe(tmp_path / "latin.yaml")


# Bases


def test_a_recipe_lays_its_own_settings_over_those_of_its_base(tmp_path: Path) -> None:
    text = "base: ctran-coco80\nname: mine\nsource: me\noptimizer: {lr: 5e-4}\nmodel: {options: {layers: 1}}\n"
    mine, base = load_recipe(write(tmp_path, text)), load_recipe("ctran-coco80")
    assert mine.optimizer.lr == 5e-4
    assert mine.optimizer.name == base.optimizer.name == "adam"
    assert mine.model.options == {**base.model.options, "layers": 1}
    assert mine.image == base.image
    assert base.figures
    assert mine.figures == {}  # they were measured with the base's own settings


def test_an_unknown_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"unknown recipe 'ctran-coco8'.*ctran-coco80"):
        load_recipe(write(tmp_path, "base: ctran-coco8\n"))


@pytest.mark.parametrize(
    ("name", "figures"),
    {
        "ctran-coco80": (85.1, 85.2, 85.6, 86.0, 21.7),
        "ctran-vg500": (38.4, 39.3, 40.4, 41.5, 24.6),
        "ctran-news500": (18.1, 29.7, 35.5, 39.4, 33.3),
        "ctran-coco1000": (34.3, 35.9, 37.4, 39.1, 27.8),
    }.items(),
)
def test_ctran_s_recipes_state_the_paper_s_figures_and_settings(name: str, figures: tuple[float, ...]) -> None:
    recipe = load_recipe(name)  # Tables 3 and 5; the settings of the authors' code
    assert tuple(recipe.figures.values()) == figures
    assert (recipe.image.size, recipe.image.crop, recipe.data.batch_size) == (576, "ctran", 16)
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.loss.reduction) == ("adam", 1e-5, "sum")
    assert (recipe.schedule.name, recipe.schedule.patience) == ("plateau", 5)
