"""A disk that is full, and a folder that is removed while a command runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tagformer.errors import CannotWriteError
from tagformer.files import atomic_write
from tagformer.recipes import Recipe
from tagformer.training import fit
from tagformer.training.module import TrainingModule
from tests.helpers import CommandLine, assert_same_weights, largest_file

Recipes = Callable[..., Recipe]


def write_plain(path: Path) -> None:
    path.write_bytes(bytes(100_000))


def write_arrays(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, values=np.arange(100_000))


def write_checkpoint(path: Path) -> None:
    with path.open("wb") as stream:
        torch.save({"weight": torch.zeros(100_000)}, stream)


def write_weights(path: Path) -> None:
    save_file({"weight": torch.zeros(100_000)}, path)


@pytest.mark.parametrize("write", [write_plain, write_arrays, write_checkpoint, write_weights])
def test_a_full_disk_is_one_sentence_and_the_old_file_stays(tmp_path: Path, write: Callable[[Path], None]) -> None:
    target = tmp_path / "file.bin"
    target.write_text("old")
    message = r"^cannot write .*file\.bin \(File too large\): free some space, and run the same command again\.$"
    with (
        largest_file(4096),
        pytest.raises(CannotWriteError, match=message),
        atomic_write(target) as temporary,
    ):
        write(temporary)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_that_is_not_the_disks_stays_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_write(tmp_path / "a.txt"):
        (tmp_path / "elsewhere.jpg").read_bytes()


def test_training_on_a_full_disk_can_be_resumed(tmp_path: Path, small_recipe: Recipes) -> None:
    recipe = small_recipe("training.epochs=2")
    message = r"checkpoints/best\.ckpt \(File too large\): free some space, and go on with: tagformer train --resume"
    with largest_file(50_000), pytest.raises(CannotWriteError, match=message):
        fit(recipe, tmp_path / "full")
    fit(recipe, tmp_path / "full", resume=True)
    fit(recipe, tmp_path / "whole")
    full, whole = (load_file(tmp_path / name / "model.safetensors") for name in ("full", "whole"))
    assert_same_weights(whole, full)


def test_a_disk_that_is_full_from_the_start_leaves_nothing(tmp_path: Path, small_recipe: Recipes) -> None:
    with largest_file(0), pytest.raises(CannotWriteError, match=r"free some space, and run the same command again"):
        fit(small_recipe(), tmp_path / "run")
    fit(small_recipe(), tmp_path / "run")  # the same command


def test_nothing_goes_through_the_systems_temporary_folder(
    tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    fit(small_recipe(), tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_a_run_folder_that_is_removed_is_noticed_at_the_next_write(
    tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingModule.training_step
    steps: list[int] = []

    def removed(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        steps.append(self.global_step)
        if self.global_step == 3:
            shutil.rmtree(tmp_path / "run")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", removed)
    with pytest.raises(CannotWriteError, match=r"last\.ckpt \(No such file or directory\): restore its folder"):
        fit(small_recipe("training.epochs=3", "training.checkpoint_steps=2"), tmp_path / "run")
    assert steps == [0, 1, 2, 3]
    assert not (tmp_path / "run").exists()


def test_commands_on_a_full_disk_print_one_sentence(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    for command in (
        ("evaluate", run, "--workers", 0),
        ("tune", run, "--workers", 0),
        ("report", run, "--workers", 0),
        ("predict", run, Path(__file__).parents[1] / "runs" / "format_1" / "picture.png", "--out", tmp_path / "t.csv"),
        ("data", "convert", "scenes?images=6", f"parquet:{tmp_path / 'converted'}"),
        ("train", "--data", "scenes?images=96", "--backbone", "tiny", "--out", tmp_path / "new"),
    ):
        with largest_file(16):
            code, _, error = tagformer(*map(str, command))
        assert code == 2, command
        assert "cannot write" in error.splitlines()[-1], command
        assert "Traceback" not in error
    assert before == {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
