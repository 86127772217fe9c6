"""Training in stages that is stopped, and goes on."""

from __future__ import annotations

import os
import shutil
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
from tagformer.runs import Run
from tagformer.runs.run import write_weights
from tagformer.training import Reporter, fit
from tagformer.training.callbacks import History
from tagformer.training.stages import model, staged, staged_heads
from tagformer.training.stages.heldout import HeldOut
from tagformer.training.stages.record import Record, Stage
from tests.helpers import CommandLine, assert_same_weights

Recipes = Callable[..., Recipe]
RISING = {"head": 0.2, "co-occurrence": 0.25, "evidence": 0.3, "network": 0.4}


@pytest.fixture(autouse=True)
def every_stage_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "choose_deviation", lambda *args: 1.0)
    of_logits, of_model = HeldOut.of_logits, HeldOut.of_model

    def scored(stage: Stage) -> Stage:
        score = RISING.get(stage.name, 0.1)
        return Stage(stage.name, score, (score,) * 4, stage.seconds, stage.kept)

    monkeypatch.setattr(HeldOut, "of_logits", lambda *args, **options: scored(of_logits(*args, **options)))
    monkeypatch.setattr(HeldOut, "of_model", lambda *args: scored(of_model(*args)))


@pytest.fixture
def whole(staged_recipe: Recipes, tmp_path: Path) -> Path:
    """A run that was not stopped."""
    fit(staged_recipe(), tmp_path / "whole")
    return tmp_path / "whole"


def assert_same_run(left: Path, right: Path) -> None:
    assert_same_weights(*(load_file(folder / "model.safetensors") for folder in (left, right)))
    one, two = Run.load(left), Run.load(right)
    assert torch.equal(one.thresholds, two.thresholds)
    assert one.temperature == two.temperature
    assert one.recipe == two.recipe
    records = [[(stage.name, stage.kept) for stage in Record.load(folder).stages] for folder in (left, right)]
    assert records[0] == records[1]


def stop(*arguments: Any, **options: Any) -> None:
    raise KeyboardInterrupt


def stops_within(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Stop the training at a place: in the middle of a stage, or between its weights and its entry in the record."""
    if place.startswith("record of "):
        add = Record.add

        def stopping(record: Record, stage: Stage) -> None:
            if stage.name == place.removeprefix("record of "):
                stop()
            add(record, stage)

        monkeypatch.setattr(Record, "add", stopping)
    elif place == "head":
        monkeypatch.setattr(staged_heads, "out_of_fold", stop)
    elif place in ("co-occurrence", "evidence"):
        name = {"co-occurrence": "fit_cooccurrence", "evidence": "fit_evidence"}[place]
        fit_part = getattr(staged, name)

        def in_the_second_fit(model: Any, evidence_logits: Any, labels: Any, *others: Any) -> None:
            fit_part(model, evidence_logits, labels, *others)
            if len(labels) == 60:
                stop()

        monkeypatch.setattr(staged, name, in_the_second_fit)
    else:

        def in_the_second_epoch(history: History, trainer: Any, module: Any) -> None:
            if trainer.current_epoch:
                raise TrainingInterruptedError("stopped")

        monkeypatch.setattr(History, "on_train_epoch_start", in_the_second_epoch)


@pytest.mark.parametrize(
    ("place", "done"),
    [
        ("head", []),
        ("record of head", []),
        ("co-occurrence", ["head"]),
        ("record of co-occurrence", ["head"]),
        ("evidence", ["head", "co-occurrence"]),
        ("record of evidence", ["head", "co-occurrence"]),
        ("network", ["head", "co-occurrence", "evidence"]),
        ("record of network", ["head", "co-occurrence", "evidence"]),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_end(
    staged_recipe: Recipes, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, done: list[str]
) -> None:
    out = tmp_path / "stopped"
    with monkeypatch.context() as stopping:
        stops_within(stopping, place)
        with pytest.raises(TrainingInterruptedError, match=f"Go on with: tagformer train --resume --out {out}$"):
            fit(staged_recipe(), out)
    assert [stage.name for stage in Record.load(out).stages if stage.kept] == done
    if done:
        assert Run.load(out).model()(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 14)
        assert not (Run.load(out).thresholds == 0.5).all()
        if "head" in done:
            monkeypatch.setattr(
                staged_heads, "fit_heads", lambda *args, **options: pytest.fail("the head was trained again")
            )
        if "co-occurrence" in done:
            monkeypatch.setattr(staged, "fit_cooccurrence", lambda *args: pytest.fail("it was trained again"))
        if "evidence" in done:
            monkeypatch.setattr(staged, "fit_evidence", lambda *args: pytest.fail("the encoder was trained again"))
    recipe = Run.load(out).recipe if done else staged_recipe()
    lines: list[str] = []
    fit(recipe, out, resume=True, reporter=Reporter(lines.append))
    assert_same_run(whole, out)
    if place == "network":
        assert any(line.startswith("Resuming at epoch 2") for line in lines)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_run_that_is_killed_between_recipe_and_weights_goes_on(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kept: bool
) -> None:
    """The model is written after each stage: the recipe first, then the weights."""
    if not kept:
        monkeypatch.setattr(Stage, "is_better_than", lambda *stages: False)
    recipe = staged_recipe("stages.finetune=false")
    fit(recipe, tmp_path / "whole")
    written: list[Path] = []

    def kill(folder: Path, state: Any) -> None:
        written.append(folder)
        if len(written) == number:
            stop()
        write_weights(folder, state)

    with monkeypatch.context() as killing:
        killing.setattr(model, "write_weights", kill)
        with pytest.raises(TrainingInterruptedError):
            fit(recipe, tmp_path / "killed")
    if number > 1:
        assert Run.load(tmp_path / "killed").model()(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 14)
    fit(Run.load(tmp_path / "killed").recipe, tmp_path / "killed", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_resuming_a_finished_run_changes_nothing(whole: Path, tagformer: CommandLine, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(whole, before)
    shutil.rmtree(tmp_path / "cache")
    code, _, error = tagformer("train", "--resume", "--out", whole)
    assert code == 0, error
    assert_same_run(before, whole)
    assert not (tmp_path / "cache").exists(), "no features are needed"


def test_an_encoder_of_an_older_version_stays(staged_recipe: Recipes, tmp_path: Path) -> None:
    """It was trained together with the co-occurrence, and the record has no stage of that name."""
    out = tmp_path / "run"
    fit(staged_recipe("stages.finetune=false"), out)
    record = Record.load(out)
    record.stages = [stage for stage in record.stages if stage.name != "co-occurrence"]
    record.add(record["evidence"])
    before = load_file(out / "model.safetensors")
    fit(Run.load(out).recipe, out, resume=True)
    assert_same_weights(before, load_file(out / "model.safetensors"))


def test_a_stopped_run_does_not_go_on_with_other_data(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as stopping:
        stops_within(stopping, "evidence")
        with pytest.raises(TrainingInterruptedError):
            fit(staged_recipe(), tmp_path / "run")
    recipe = Run.load(tmp_path / "run").recipe.overridden(["data.spec=scenes?images=61&faint=0"])
    with pytest.raises(TagformerError, match="the data changed since"):
        fit(recipe, tmp_path / "run", resume=True)


def test_a_run_that_goes_on_keeps_its_plan(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tagformer: CommandLine
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as stopping:
        stops_within(stopping, "network")
        with pytest.raises(TrainingInterruptedError):
            fit(staged_recipe(), out, minutes=0.5)
    code, _, error = tagformer("train", "--resume", "--out", out, "--minutes", 1)
    assert code == 2
    assert "leave --minutes out" in error
    monkeypatch.setattr(staged_heads, "measure_speed", lambda *args: pytest.fail("the plan was made again"))
    fit(Run.load(out).recipe, out, resume=True)
    assert "network" in Record.load(out)


def test_sigterm_ends_with_a_sentence_on_how_to_go_on(staged_recipe: Recipes, tmp_path: Path) -> None:
    out = tmp_path / "run"
    staged_recipe("training.epochs=4000", "stages.evidence_epochs=0", "stages.deviations=[]").save(
        tmp_path / "recipe.yaml"
    )
    command = [sys.executable, "-m", "tagformer", "train", "--recipe", str(tmp_path / "recipe.yaml"), "--out", str(out)]
    with subprocess.Popen(
        command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        while not (out / "stages" / "finetune" / "checkpoints" / "last.ckpt").is_file():
            assert process.poll() is None, "training ended"
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert error.splitlines()[-1] == (
        f"tagformer: stopped; the stages that are done are kept. Go on with: tagformer train --resume --out {out}"
    )


def test_sigterm_within_the_first_stages(
    staged_recipe: Recipes, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminated(*arguments: Any, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the training went on")

    before = signal.getsignal(signal.SIGTERM)
    for module, place in ((staged_heads, "fit_heads"), (staged, "fit_cooccurrence"), (staged, "fit_evidence")):
        with monkeypatch.context() as stopping:
            stopping.setattr(module, place, terminated)
            with pytest.raises(TrainingInterruptedError, match="stopped; the stages that are done are kept"):
                fit(staged_recipe(), tmp_path / "run", resume=place != "fit_heads")
        assert signal.getsignal(signal.SIGTERM) is before
    fit(Run.load(tmp_path / "run").recipe, tmp_path / "run", resume=True)
    assert_same_run(whole, tmp_path / "run")
