"""What `train` says about its data, and that a run does not go on with other data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tagformer.errors import TagformerError
from tagformer.recipes import Recipe
from tagformer.runs.data_digest import DATA
from tagformer.training import Reporter, fit
from tagformer.training.prepare import prepare
from tests.helpers import write_folder

Recipes = Callable[..., Recipe]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data", 40)


def started(recipe: Recipe, folder: Path) -> Path:
    """A run with a checkpoint, of one epoch."""
    fit(recipe, folder)
    assert (folder / DATA).is_file()
    return folder


def removed(table: Path) -> None:
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-3]) + "\n")


def swapped(table: Path) -> None:
    table.write_text(table.read_text().replace("red", "x").replace("blue", "red").replace(",x", ",blue"))


def renamed_ids(table: Path) -> None:
    lines = table.read_text().splitlines()
    table.write_text("\n".join([f"id,{lines[0]}", *(f"{n},{line}" for n, line in enumerate(lines[1:]))]) + "\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (removed, r"images then, .* now, to train and to validate"),
        (swapped, r"still .* images, but other ids, labels or splits"),
        (renamed_ids, r"the data changed since .*run was started"),
    ],
)
def test_a_run_does_not_go_on_with_other_data(
    tmp_path: Path, table: Path, small_recipe: Recipes, change: Callable[[Path], None], message: str
) -> None:
    recipe = small_recipe(f"data.spec=csv:{table}", "training.epochs=1")
    run = started(recipe, tmp_path / "run")
    longer = recipe.overridden(["training.epochs=2"])
    before = (run / DATA).read_bytes()
    change(table)
    with pytest.raises(TagformerError, match=message):
        fit(longer, run, resume=True)
    assert (run / DATA).read_bytes() == before


def test_a_run_goes_on_with_the_same_data_or_without_a_digest(
    tmp_path: Path, table: Path, small_recipe: Recipes
) -> None:
    recipe = small_recipe(f"data.spec=csv:{table}", "training.epochs=1")
    run = started(recipe, tmp_path / "run")
    assert len(fit(recipe.overridden(["training.epochs=2"]), run, resume=True).rows) == 2
    (run / DATA).unlink()  # as in runs of older versions
    swapped(table)
    assert len(fit(recipe.overridden(["training.epochs=3"]), run, resume=True).rows) == 3
    (run / DATA).write_text("[]")
    with pytest.raises(TagformerError, match=r"data\.json is damaged: delete it"):
        fit(recipe.overridden(["training.epochs=4"]), run, resume=True)


def test_an_image_that_vanished_may_be_skipped_when_a_run_goes_on(
    tmp_path: Path, table: Path, small_recipe: Recipes
) -> None:
    recipe = small_recipe(f"data.spec=csv:{table}", "training.epochs=1")
    run = started(recipe, tmp_path / "run")
    (table.parent / "image-00.png").unlink()
    longer = recipe.overridden(["training.epochs=2", "data.on_bad_image=skip"])
    assert len(fit(longer, run, resume=True).rows) == 2


def test_train_says_what_data_warns_of(tmp_path: Path, small_recipe: Recipes) -> None:
    table = write_folder(tmp_path / "data", 12, header="path,split,tags")
    lines = table.read_text().splitlines()
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    rows = [line.replace(",", f",{split},") for line, split in zip(lines[1:], splits, strict=True)]
    table.write_text("\n".join([lines[0], *rows]) + "\n")
    for number in range(12):  # pictures that differ, except the last, which is the first one
        file = table.parent / f"image-{number:02d}.png"
        file.write_bytes(file.read_bytes() + bytes([number]))
    (table.parent / "image-11.png").write_bytes((table.parent / "image-00.png").read_bytes())
    (table.parent / "labels.json").write_text('{"classes": 3}')
    printed: list[str] = []
    prepare(small_recipe(f"data.spec=csv:{table}"), tmp_path / "run", False, Reporter(message=printed.append))
    warnings = [line for line in printed if line.startswith("Warning: ")]
    assert all(line.endswith(".") for line in warnings)
    for expected in (
        "labels.json is not used",
        "val: 1 label is never positive: green",
        "test: 1 image is also in train, the first is image-11.png, the same file as image-00.png",
        "1 image is in the data more than once with different labels, the first is image-00.png (train)",
    ):
        assert [line for line in warnings if expected in line], expected
