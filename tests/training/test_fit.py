"""Training: resuming is exact, divergence is said, schedules and parameter groups are as written."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tagformer.errors import BadImageError, TagformerError, TrainingInterruptedError
from tagformer.models import create_model
from tagformer.recipes import Recipe
from tagformer.recipes.settings import OptimizerSettings, ScheduleSettings
from tagformer.training import Reporter, fit
from tagformer.training.module import TrainingModule, model_state
from tagformer.training.optim import create_optimizer, create_schedule, lr_multiplier, parameter_groups

Recipes = Callable[..., Recipe]
# 96 images in batches of 16: 6 batches an epoch, 18 in all.
EVERYTHING = (
    "training.epochs=3",
    "training.ema=0.9",
    "training.clip=1.0",
    "image.rand_augment=9",
    "image.crop_scale=[0.5, 1.0]",
    "model.options.image_dropout=0.3",
    "training.checkpoint_steps=2",
)


def final_state(run: Path) -> dict[str, torch.Tensor]:
    """All that training leaves behind: the kept weights, the last ones, their average, and the optimizer's state."""
    state = dict(load_file(run / "model.safetensors"))
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=False)
    for part in ("state_dict", "current_model_state"):
        state.update({f"{part}.{name}": value for name, value in checkpoint.get(part, {}).items()})
    for index, values in checkpoint["optimizer_states"][0]["state"].items():
        state.update({f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in values.items()})
    return state


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int) -> list[int]:
    """Make training fail when it comes to a batch (counted over the whole run); gives the list of the batches done."""
    seen: list[int] = []
    original = TrainingModule.training_step

    def counted(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        position = self.current_epoch * 6 + batch_idx
        if position == step:
            raise RuntimeError("crash")
        seen.append(position)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", counted)
    return seen


@pytest.mark.parametrize(
    ("overrides", "step", "restart"),
    [
        pytest.param((), 9, 8, id="within the second epoch"),
        pytest.param((), 12, 12, id="at the start of the third epoch"),
        pytest.param((), 13, 12, id="after the first batch of the third epoch"),
        pytest.param(("training.accumulate=2", "training.checkpoint_steps=1"), 9, 8, id="gradients accumulated"),
        pytest.param(("schedule.name=plateau", "schedule.patience=0"), 14, 14, id="plateau"),
        pytest.param(("schedule.name=onecycle", "optimizer.name=sgd"), 5, 4, id="within the first epoch"),
        pytest.param(("training.mixup=0.4", "data.sampling=class_aware"), 9, 8, id="mixup, class-aware sampling"),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path,
    small_recipe: Recipes,
    monkeypatch: pytest.MonkeyPatch,
    overrides: tuple[str, ...],
    step: int,
    restart: int,
) -> None:
    recipe = small_recipe(*EVERYTHING, *overrides)
    fit(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        with pytest.raises(RuntimeError, match="crash"):
            fit(recipe, tmp_path / "broken")
    seen = crash_at(monkeypatch, -1)
    fit(recipe, tmp_path / "broken", resume=True)
    assert seen == list(range(restart, 18))
    assert_same(final_state(tmp_path / "whole"), final_state(tmp_path / "broken"))
    rows = [list(csv.DictReader((tmp_path / name / "history.csv").open())) for name in ("whole", "broken")]
    assert [{**row, "seconds": ""} for row in rows[0]] == [{**row, "seconds": ""} for row in rows[1]]


def test_a_run_killed_in_mid_epoch_resumes_bit_for_bit(tmp_path: Path, small_recipe: Recipes) -> None:
    recipe = small_recipe(*EVERYTHING, "data.spec=scenes?images=400", "data.batch_size=8", "data.workers=2")
    recipe.save(tmp_path / "recipe.yaml")
    start = [sys.executable, "-m", "tagformer", "train", "--recipe", str(tmp_path / "recipe.yaml"), "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*start, tmp_path / "whole"], env=environment, check=True, capture_output=True)

    checkpoint = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    with subprocess.Popen([*start, tmp_path / "killed"], env=environment, stdout=subprocess.DEVNULL) as process:
        while not checkpoint.is_file():
            assert process.poll() is None, "training ended without a checkpoint"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    done = torch.load(checkpoint, weights_only=False)["global_step"]
    assert 0 < done < 150
    assert done % 50, "the checkpoint is of mid-epoch"

    resume = [sys.executable, "-m", "tagformer", "train", "--resume", "--out", tmp_path / "killed"]
    resumed = subprocess.run(resume, env=environment, check=True, capture_output=True, text=True)
    assert f"Resuming at epoch {done // 50 + 1}, step {done}." in resumed.stdout
    assert_same(final_state(tmp_path / "whole"), final_state(tmp_path / "killed"))


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(
    tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingModule.training_step

    def interrupted(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, batch_idx)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", interrupted)
        with pytest.raises(TrainingInterruptedError, match=r"tagformer train --resume --out .*broken") as caught:
            fit(small_recipe("training.epochs=2"), tmp_path / "broken")
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert torch.load(tmp_path / "broken" / "checkpoints" / "last.ckpt", weights_only=False)["global_step"] == 4
    fit(small_recipe("training.epochs=2"), tmp_path / "broken", resume=True)
    fit(small_recipe("training.epochs=2"), tmp_path / "whole")
    assert_same(final_state(tmp_path / "whole"), final_state(tmp_path / "broken"))


def test_the_best_weights_are_kept_when_an_interrupted_run_is_moved(
    tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.5, 0.4])
    original = TrainingModule.log_dict

    def scored(self: TrainingModule, values: dict[str, float], **options: Any) -> None:
        original(self, {**values, "val_mAP": next(scores)}, **options)

    monkeypatch.setattr(TrainingModule, "log_dict", scored)
    recipe = small_recipe("training.epochs=3")
    with monkeypatch.context() as patch:
        crash_at(patch, 8)
        with pytest.raises(RuntimeError, match="crash"):
            fit(recipe, tmp_path / "here")
    best = load_file(tmp_path / "here" / "model.safetensors")  # there as soon as an epoch is done
    (tmp_path / "here").rename(tmp_path / "there")
    fit(recipe, tmp_path / "there", resume=True)
    assert_same(best, load_file(tmp_path / "there" / "model.safetensors"))


def test_the_last_weights_are_kept_where_the_recipe_says_so(
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
    assert_same(kept["last"], model_state(last))
    assert any(not torch.equal(kept["best"][name], value) for name, value in kept["last"].items())


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, small_recipe: Recipes, content: bytes) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(content)
    with pytest.raises(TagformerError, match=r"last\.ckpt is damaged and the run cannot go on: delete it"):
        fit(small_recipe(), tmp_path / "run", resume=True)


def test_a_diverging_run_stops_with_the_step_and_what_to_try(
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


def test_a_folder_in_use_is_refused(small_run: Path, small_recipe: Recipes) -> None:
    before = (small_run / "model.safetensors").read_bytes()
    with pytest.raises(TagformerError, match="is not empty: choose another --out, or go on with"):
        fit(small_recipe(), small_run)
    assert (small_run / "model.safetensors").read_bytes() == before


def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(tmp_path: Path, small_recipe: Recipes) -> None:
    for name, seed, workers in (("a", 1, 0), ("b", 1, 2), ("c", 2, 0)):
        fit(small_recipe(f"training.seed={seed}", f"data.workers={workers}"), tmp_path / name)
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert_same(a, b)
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
    from tests.helpers import write_folder

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


def test_every_parameter_is_in_one_group_and_only_matrices_are_decayed() -> None:
    model = create_model("ctran", 5, "tiny", width=16, heads=2)
    settings = OptimizerSettings(lr=1.0, backbone_lr_factor=0.1, weight_decay=0.3)
    groups = parameter_groups(model, settings)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    place = {id(parameter): group for group in groups for parameter in group["params"]}
    rates = {name: place[id(p)]["lr"] for name, p in model.named_parameters()}
    decays = {name: place[id(p)]["weight_decay"] for name, p in model.named_parameters()}
    assert {rate for name, rate in rates.items() if name.startswith("backbone.")} == {0.1}
    assert {rate for name, rate in rates.items() if not name.startswith("backbone.")} == {1.0}
    assert decays["label_embedding.weight"] == decays["state_embedding.weight"] == decays["norm.weight"] == 0
    assert decays["encoder.0.linear1.bias"] == decays["backbone.stages.0.0.1.weight"] == 0
    assert decays["encoder.0.linear1.weight"] == decays["classifier_weight"] == 0.3


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimizers_by_name(name: str) -> None:
    model = create_model("linear", 2, "tiny")
    optimizer = create_optimizer(model, OptimizerSettings(name=name, momentum=0.7))  # type: ignore[arg-type]
    assert type(optimizer).__name__.lower() == name
    assert name != "sgd" or optimizer.defaults["momentum"] == 0.7


def test_schedules_follow_their_formulas() -> None:
    cosine = ScheduleSettings(name="cosine", warmup=0.1)
    assert lr_multiplier(cosine, 0, 100, 10) == pytest.approx(1 / 11)
    assert lr_multiplier(cosine, 9, 100, 10) == pytest.approx(10 / 11)
    assert lr_multiplier(cosine, 10, 100, 10) == 1
    assert lr_multiplier(cosine, 55, 100, 10) == pytest.approx(0.5)
    assert lr_multiplier(cosine, 100, 100, 10) == pytest.approx(0)
    assert lr_multiplier(ScheduleSettings(name="constant", warmup=0), 57, 100, 10) == 1
    step = ScheduleSettings(name="step", step_epochs=3, factor=0.1)
    assert [round(lr_multiplier(step, at, 100, 10), 6) for at in (0, 29, 30, 59, 60)] == [1, 1, 0.1, 0.1, 0.01]


def test_a_listener_hears_the_time_and_every_epoch(tmp_path: Path, small_recipe: Recipes) -> None:
    lines: list[str] = []
    rows: list[dict[str, Any]] = []
    fit(small_recipe("training.epochs=2"), tmp_path / "run", reporter=Reporter(lines.append, rows.append))
    assert any("will take about" in line for line in lines)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(math.isfinite(row[name]) for row in rows for name in ("loss", "val_loss", "val_mAP", "lr", "seconds"))


@pytest.mark.parametrize(
    ("steps", "rates"), [(1, [0.0]), (2, [0.04, 0.0]), (3, [0.04, 1.0, 0.0]), (4, [0.04, 1.0, 0.5, 0.0])]
)
def test_one_cycle_of_a_few_steps(steps: int, rates: list[float]) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = create_schedule(optimizer, ScheduleSettings(name="onecycle", warmup=0.2), steps, 1)
    found = []
    for step in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:
            schedule.step()
    assert found == pytest.approx(rates, abs=1e-4)
