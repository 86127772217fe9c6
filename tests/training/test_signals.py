"""Signals to all processes of a training at once, and Ctrl-C before it begins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tagformer.recipes import Recipe
from tagformer.training import fit
from tests.helpers import assert_same_weights

TAGFORMER = [sys.executable, "-m", "tagformer"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_ends_with_a_checkpoint(
    tmp_path: Path, small_recipe: Callable[..., Recipe], number: signal.Signals
) -> None:
    recipe = small_recipe("training.epochs=4", "data.workers=2", "data.batch_size=4", "training.checkpoint_steps=1")
    recipe.save(tmp_path / "recipe.yaml")
    command = [*TAGFORMER, "train", "--recipe", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "stopped")]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not (tmp_path / "stopped" / "checkpoints" / "last.ckpt").is_file():
            assert process.poll() is None, "training ended without a checkpoint"
            time.sleep(0.01)
        os.killpg(process.pid, number)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert error.startswith("tagformer: stopped at epoch")
    assert error.count("\n") == 1
    fit(recipe, tmp_path / "stopped", resume=True)
    fit(recipe, tmp_path / "whole")
    stopped, whole = (load_file(tmp_path / name / "model.safetensors") for name in ("stopped", "whole"))
    assert_same_weights(whole, stopped)


# Python itself needs a while to start, longer on a busy machine, and what Ctrl-C does until then is not ours.
START = "from tagformer.cli.program import main; print('started', flush=True); main()"


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.7, 1.5])
def test_ctrl_c_at_the_start_prints_no_traceback(tmp_path: Path, seconds: float) -> None:
    options = ["train", "--data", "scenes?images=96", "--backbone", "tiny", "--out", str(tmp_path / "run")]
    with subprocess.Popen(
        [sys.executable, "-c", START, *options],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in error
