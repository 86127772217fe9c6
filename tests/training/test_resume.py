"""A run that was interrupted and resumed equals an uninterrupted one."""

from __future__ import annotations

import csv
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

from tagformer.errors import TagformerError, TrainingInterruptedError
from tagformer.recipes import Recipe
from tagformer.training import fit
from tagformer.training.module import TrainingModule
from tests.helpers import assert_same_weights

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
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    for part in ("state_dict", "current_model_state"):
        state.update({f"{part}.{name}": value for name, value in checkpoint.get(part, {}).items()})
    for index, values in checkpoint["optimizer_states"][0]["state"].items():
        state.update({f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in values.items()})
    return state


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
    assert_same_weights(final_state(tmp_path / "whole"), final_state(tmp_path / "broken"))
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
    done = torch.load(checkpoint, weights_only=True)["global_step"]
    assert 0 < done < 150
    assert done % 50, "the checkpoint is of mid-epoch"

    resume = [sys.executable, "-m", "tagformer", "train", "--resume", "--out", tmp_path / "killed"]
    resumed = subprocess.run(resume, env=environment, check=True, capture_output=True, text=True)
    assert f"Resuming at epoch {done // 50 + 1}, step {done}." in resumed.stdout
    assert_same_weights(final_state(tmp_path / "whole"), final_state(tmp_path / "killed"))


def test_ctrl_c_writes_a_checkpoint_and_names_the_command_that_resumes(
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
    assert torch.load(tmp_path / "broken" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    fit(small_recipe("training.epochs=2"), tmp_path / "broken", resume=True)
    fit(small_recipe("training.epochs=2"), tmp_path / "whole")
    assert_same_weights(final_state(tmp_path / "whole"), final_state(tmp_path / "broken"))


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
    assert_same_weights(best, load_file(tmp_path / "there" / "model.safetensors"))


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_damaged_checkpoint_is_reported_with_its_name(tmp_path: Path, small_recipe: Recipes, content: bytes) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(content)
    with pytest.raises(TagformerError, match=r"last\.ckpt is damaged and the run cannot go on: delete it"):
        fit(small_recipe(), tmp_path / "run", resume=True)
