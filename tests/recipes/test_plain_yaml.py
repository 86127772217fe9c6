"""Recipes that YAML allows and that are no recipes: each is one sentence, at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagformer.errors import TagformerError
from tagformer.recipes import Recipe, load_recipe

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 8)}]\n" for level in range(1, 20)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"its aliases \(\*\) repeat themselves without end"),
        ("model:\n  options:\n" + "".join(f"    {line}\n" for line in BOMB.splitlines()), "repeat themselves"),
        ("model: &a\n  options: *a\n", "repeat themselves"),
        ("training: {epochs: !!int x}", "not valid YAML of a recipe"),
        ("training: {epochs: !!float x}", "not valid YAML of a recipe"),
        ("name: !!timestamp 2001-99-99", "not valid YAML of a recipe"),
        ("name: !!timestamp 2001-01-01", "it holds a date"),
        ("name: !!binary aGVsbG8=", "it holds a bytes"),
        ("figures: !!set {a, b}", "it holds a set"),
        ("? [a]\n: 1", "not valid YAML"),
        ("? {a: 1}\n: 1", "not valid YAML"),
        ("name: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("a: " + "[" * 5000, "not valid YAML"),
        ("training: {epochs: " + "9" * 5000 + "}", "not valid YAML"),
        ("1: 2", "1"),
    ],
)
def test_it_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(TagformerError, match=message) as caught:
        load_recipe(tmp_path / "recipe.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_recipe_that_is_its_own_base_is_one_sentence(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(f"base: {two}")
    two.write_text(f"base: {one}")
    with pytest.raises(TagformerError, match=r"recipe .*one\.yaml is its own base"):
        load_recipe(one)


@pytest.mark.parametrize("text", ["2001-01-01", "2001-99-99", "1e-4", "12:30:00", "yes", "~"])
def test_text_that_looks_like_something_else_reads_back(tmp_path: Path, text: str) -> None:
    Recipe(name=text).save(tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml").name == text


def test_a_date_is_text(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: 2001-99-99\nsource: 2024-05-06\n")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert (recipe.name, recipe.source) == ("2001-99-99", "2024-05-06")


def test_an_alias_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("image: {mean: &half [0.5, 0.5, 0.5], std: *half}\n")
    assert load_recipe(tmp_path / "recipe.yaml").image.std == (0.5, 0.5, 0.5)
