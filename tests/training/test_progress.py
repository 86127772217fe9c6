"""Lines about an epoch's progress where there is no bar, and loggers by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tagformer.errors import TagformerError
from tagformer.recipes import Recipe
from tagformer.training import Reporter, fit
from tagformer.training import progress as progress_module

Recipes = Callable[..., Recipe]


def test_an_epoch_reports_how_far_it_is(tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    fit(small_recipe(), tmp_path / "quick", reporter=Reporter(message=lines.append))
    assert not any("left in it" in line for line in lines)  # it takes less than a minute
    seconds = iter(range(0, 100_000, 40))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(seconds)))
    fit(small_recipe("data.batch_size=8"), tmp_path / "slow", reporter=Reporter(message=lines.append))
    reported = [line for line in lines if "left in it" in line]
    assert len(reported) >= 3
    assert reported[0].startswith("epoch   1  batch ")
    assert " of 12, " in reported[0]


def test_one_logger_may_be_a_word_and_one_that_is_not_installed_is_named(
    tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small_recipe("training.loggers=csv").training.loggers == ("csv",)
    assert small_recipe("training.loggers=[csv, wandb]").training.loggers == ("csv", "wandb")

    def missing(**options: object) -> None:
        raise ModuleNotFoundError("wandb")

    monkeypatch.setattr(sys.modules["tagformer.training.train"], "WandbLogger", missing)
    with pytest.raises(TagformerError, match="the wandb logger is not installed: pip install wandb"):
        fit(small_recipe("training.loggers=wandb"), tmp_path / "run")
