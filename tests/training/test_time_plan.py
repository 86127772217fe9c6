"""Epochs planned for a given time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tagformer.recipes import Recipe
from tagformer.runs import Run
from tagformer.training import Reporter, fit, time_plan
from tagformer.training.time_plan import Epochs
from tests.helpers import CommandLine


@pytest.mark.parametrize(
    ("seconds", "count", "share"),
    [
        (200.0, 2, 1.0),  # two epochs of 100 s
        (250.0, 3, (250 / 3 - 10) / 90),  # three of 83.3 s, of which 10 s are for scoring
        (70.0, 1, 60 / 90),
        (-3.0, 1, 0.25),  # the least
        (1e4, 40, 1.0),  # the most
    ],
)
def test_the_epochs_that_fit(seconds: float, count: int, share: float) -> None:
    epochs = Epochs.within(seconds, training=90, scoring=10, most=40)
    assert (epochs.count, epochs.share) == (count, pytest.approx(share))
    if 0.25 < share and count < 40:
        assert epochs.seconds(90, 10) == pytest.approx(seconds)


def test_a_part_of_the_images_in_each_epoch(small_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """96 images in batches of 16: half of them are three steps, and each epoch has others."""
    recipe = small_recipe("training.epochs=2", "data.batch_size=16", "training.epoch_share=0.5")
    fit(recipe, tmp_path / "run")
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6


def test_the_moving_average_is_not_longer_than_the_training(small_recipe: Callable[..., Recipe]) -> None:
    recipe = small_recipe("training.ema=0.9995", "training.accumulate=2")
    time_plan.set_epochs(recipe, Epochs(10), batches=19)  # 100 steps
    assert recipe.training.ema == pytest.approx(0.8)
    recipe = small_recipe("training.ema=0.5")
    time_plan.set_epochs(recipe, Epochs(10), batches=100)
    assert recipe.training.ema == 0.5, "a shorter one stays"
    recipe = small_recipe()
    time_plan.set_epochs(recipe, Epochs(10), batches=100)
    assert recipe.training.ema is None


def test_a_run_has_the_epochs_that_fit(
    small_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 96 + 16 / 3 images of 0.2 s are 20.3 s per epoch; in 60 s, less 4 % and what has passed, three of less fit.
    monkeypatch.setattr(time_plan, "seconds_per_image", lambda *args: 0.2)
    lines: list[str] = []
    fitted = fit(small_recipe("training.epochs=9"), tmp_path / "run", reporter=Reporter(lines.append), minutes=1)
    assert [row["epoch"] for row in fitted.rows] == [1, 2, 3]
    assert any(line.startswith("Plan: 3 epochs of 9") for line in lines)
    recipe = Run.load(tmp_path / "run").recipe
    assert recipe.training.epochs == 3
    assert 0.9 < recipe.training.epoch_share < 0.95
    fit(recipe, tmp_path / "run", resume=True, minutes=30)
    assert Run.load(tmp_path / "run").recipe.training.epochs == 3, "a run that goes on keeps its plan"


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
