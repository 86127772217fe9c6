"""Epochs planned for a given time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tagformer.recipes import Recipe
from tagformer.runs import Run
from tagformer.training import Reporter, fit, time_plan
from tests.helpers import CommandLine


@pytest.mark.parametrize(
    ("seconds", "epoch", "usual", "expected"),
    [(100.0, 9.0, 5, 11), (8.0, 9.0, 5, 1), (-3.0, 9.0, 5, 1), (1e4, 9.0, 5, 40), (1e4, 9.0, 60, 60)],
)
def test_the_epochs_that_fit(seconds: float, epoch: float, usual: int, expected: int) -> None:
    assert time_plan.epochs_in(seconds, epoch, usual) == expected


def test_the_moving_average_is_not_longer_than_the_training(small_recipe: Callable[..., Recipe]) -> None:
    recipe = small_recipe("training.ema=0.9995", "training.accumulate=2")
    time_plan.set_epochs(recipe, 10, batches=19)  # 100 steps
    assert recipe.training.ema == pytest.approx(0.8)
    recipe = small_recipe("training.ema=0.5")
    time_plan.set_epochs(recipe, 10, batches=100)
    assert recipe.training.ema == 0.5, "a shorter one stays"
    recipe = small_recipe()
    time_plan.set_epochs(recipe, 10, batches=100)
    assert recipe.training.ema is None


def test_a_run_has_the_epochs_that_fit(
    small_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 96 + 16 / 3 images of 0.2 s are 20.3 s per epoch; of 60 s, less 4 % and what has passed, two epochs fit.
    monkeypatch.setattr(time_plan, "seconds_per_image", lambda *args: 0.2)
    lines: list[str] = []
    fitted = fit(small_recipe("training.epochs=9"), tmp_path / "run", reporter=Reporter(lines.append), minutes=1)
    assert [row["epoch"] for row in fitted.rows] == [1, 2]
    assert any(line.startswith("Plan: 2 epochs, ") for line in lines)
    recipe = Run.load(tmp_path / "run").recipe
    assert recipe.training.epochs == 2
    fit(recipe, tmp_path / "run", resume=True, minutes=30)
    assert Run.load(tmp_path / "run").recipe.training.epochs == 2, "a run that goes on keeps its plan"


def test_minutes_on_the_command_line(tmp_path: Path, tagformer: CommandLine) -> None:
    small = ("--backbone", "tiny", "--set", "image.size=32", "--set", "data.workers=0", "--set", "training.ema=null")
    data = ("--data", "scenes?images=40")
    code, printed, error = tagformer(
        "train", *data, "--model", "csra", *small, "--minutes", 0.5, "--out", tmp_path / "a"
    )
    assert code == 0, error
    epochs = Run.load(tmp_path / "a").recipe.training.epochs
    assert f"Plan: {epochs} epoch" in printed
    again = ("train", "--recipe", tmp_path / "a" / "recipe.yaml", "--set", "training.epochs=1", "--out", tmp_path / "b")
    code, printed, error = tagformer(*again)
    assert code == 0, error
    assert "Plan:" not in printed
    code, _, error = tagformer("train", "--resume", "--out", tmp_path / "a", "--minutes", 1)
    assert code == 2
    assert "leave --minutes out" in error
