"""Training: what is written, what is kept, and errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tagformer.errors import BadImageError, TagformerError
from tagformer.recipes import Recipe
from tagformer.training import Reporter, fit
from tagformer.training.module import TrainingModule, model_state
from tests.helpers import assert_same_weights, write_folder

Recipes = Callable[..., Recipe]


def test_the_last_weights_are_kept_if_the_recipe_says_so(
    tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.5] * 2)
    original = TrainingModule.log_dict

    def scored(self: TrainingModule, values: dict[str, float], **options: Any) -> None:
        original(self, {**values, "val_mAP": next(scores)}, **options)

    monkeypatch.setattr(TrainingModule, "log_dict", scored)
    kept = {}
    for keep in ("best", "last"):
        fit(small_recipe("training.epochs=2", f"training.keep={keep}"), tmp_path / keep)
        kept[keep] = load_file(tmp_path / keep / "model.safetensors")
    last = torch.load(tmp_path / "last" / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]
    assert_same_weights(kept["last"], model_state(last))
    assert any(not torch.equal(kept["best"][name], value) for name, value in kept["last"].items())


def test_a_diverging_run_stops_and_names_the_step_and_remedies(
    tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingModule.loss

    def not_a_number(self: TrainingModule, *arguments: Any) -> torch.Tensor:
        loss = original(self, *arguments)
        return loss * math.nan if self.global_step == 4 else loss

    monkeypatch.setattr(TrainingModule, "loss", not_a_number)
    with pytest.raises(
        TagformerError, match=r"diverged: the loss is nan at epoch 1, step 4; try a lower learning rate"
    ):
        fit(small_recipe(), tmp_path / "run")


def test_a_folder_in_use_is_rejected(small_run: Path, small_recipe: Recipes) -> None:
    before = (small_run / "model.safetensors").read_bytes()
    with pytest.raises(TagformerError, match="is not empty: choose another --out, or go on with"):
        fit(small_recipe(), small_run)
    assert (small_run / "model.safetensors").read_bytes() == before


def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(tmp_path: Path, small_recipe: Recipes) -> None:
    for name, seed, workers in (("a", 1, 0), ("b", 1, 2), ("c", 2, 0)):
        fit(small_recipe(f"training.seed={seed}", f"data.workers={workers}"), tmp_path / name)
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert_same_weights(a, b)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_every_epoch_sees_the_images_in_another_order(
    tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: dict[int, list[str]] = {0: [], 1: [], 2: []}
    original = TrainingModule.training_step

    def noted(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        order[self.current_epoch] += batch.ids
        return original(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", noted)
    fit(small_recipe("training.epochs=3", "data.workers=1"), tmp_path / "run")
    assert len(set(order[0])) == 96
    assert set(order[0]) == set(order[1]) == set(order[2])
    assert order[0] != order[1] != order[2] != order[0]


def test_training_stops_early_without_progress(tmp_path: Path, small_recipe: Recipes) -> None:
    # With a learning rate of practically nothing and fixed statistics, no epoch after the first is better.
    still = ("optimizer.lr=1e-30", "model.backbone.freeze_norm=true")
    recipe = small_recipe("training.epochs=6", "training.patience=2", *still)
    assert len(fit(recipe, tmp_path / "run").rows) == 3
    assert len(fit(recipe, tmp_path / "run", resume=True).rows) == 3, "what stopped early stays stopped"


def test_loggers_write_below_the_run(tmp_path: Path, small_recipe: Recipes) -> None:
    fit(small_recipe("training.loggers=[csv, tensorboard]"), tmp_path / "run")
    assert (tmp_path / "run" / "logs" / "csv" / "version_0" / "metrics.csv").is_file()
    assert list((tmp_path / "run" / "logs" / "tensorboard").glob("version_0/events*"))


def test_unreadable_images_stop_training_or_are_counted(tmp_path: Path, small_recipe: Recipes) -> None:
    table = write_folder(tmp_path / "data", 24)
    broken = tmp_path / "data" / "image-03.png"
    broken.write_bytes(b"nothing")
    overrides = (f"data.spec=csv:{table}", "data.batch_size=4")
    with pytest.raises(BadImageError, match=r"image-03\.png is not an image"):
        fit(small_recipe(*overrides), tmp_path / "stops")
    fitted = fit(small_recipe(*overrides, "data.on_bad_image=skip"), tmp_path / "skips")
    assert fitted.bad_images == {f"image {broken} is not an image."}


def test_a_frozen_backbone_keeps_weights_and_statistics(tmp_path: Path, small_recipe: Recipes) -> None:
    fit(small_recipe("optimizer.backbone_lr_factor=0", "training.epochs=1"), tmp_path / "one")
    fit(small_recipe("optimizer.backbone_lr_factor=0", "training.epochs=2"), tmp_path / "two")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    same = {name for name in one if torch.equal(one[name], two[name])}
    assert {name for name in one if name.startswith("backbone.")} <= same
    assert "classifier_weight" not in same


def test_a_reporter_gets_the_time_and_every_epoch(tmp_path: Path, small_recipe: Recipes) -> None:
    lines: list[str] = []
    rows: list[dict[str, Any]] = []
    fit(small_recipe("training.epochs=2"), tmp_path / "run", reporter=Reporter(lines.append, rows.append))
    assert any("will take about" in line for line in lines)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(math.isfinite(row[name]) for row in rows for name in ("loss", "val_loss", "val_mAP", "lr", "seconds"))
