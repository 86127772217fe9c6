"""Runs that earlier versions wrote are loaded, evaluated and used for predictions as on the day they were written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tagformer import Tagger
from tagformer.runs.migration import FORMAT_VERSION
from tagformer.runs.run import Run, model_from_recipe
from tagformer.runs.warm_start import start_from_run
from tests.helpers import CommandLine

KNOWN = {"nothing known": {}, "two labels known": {"disc": True, "ring": False}}
VERSIONS = (0, 1)


def test_a_run_of_every_version_is_kept() -> None:
    assert VERSIONS == tuple(range(FORMAT_VERSION + 1)), "write one with scripts/write_format_run.py"


@pytest.fixture(params=VERSIONS, ids=lambda version: f"format {version}")
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the run of each version."""
    folder = tmp_path / "run"
    shutil.copytree(Path(__file__).parent / f"format_{request.param}", folder)
    return folder


def expected(run: Path, known: str) -> dict[str, float]:
    return json.loads((run / "expected.json").read_text())[known]


@pytest.mark.parametrize("known", list(KNOWN))
def test_the_predictions_are_those_of_the_day_it_was_written(run: Path, known: str) -> None:
    (prediction,) = Tagger.load(run).predict(run / "picture.png", known=KNOWN[known])
    probabilities = prediction.to_dict()["probabilities"]
    assert probabilities == pytest.approx(expected(run, known), abs=1e-4)
    assert len(probabilities) == 12


def test_the_stored_figures_tell_the_known_labels_apart(run: Path) -> None:
    free, known = (expected(run, name) for name in KNOWN)
    assert abs(free["star"] - known["star"]) > 5e-4, "known labels change the other probabilities beyond the tolerance"


def test_predict_and_evaluate_take_it(run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    out = tmp_path / "tags.jsonl"
    code, _, error = tagformer("predict", run, run / "picture.png", "--known", "disc=yes,ring=no", "--out", out)
    assert code == 0, error
    (line,) = out.read_text().splitlines()
    assert json.loads(line)["probabilities"] == pytest.approx(expected(run, "two labels known"), abs=1e-4)
    code, _, error = tagformer("evaluate", run, "--known-share", "0,50", "--draws", 1, "--workers", 0)
    assert code == 0, error
    figures = json.loads((run / "metrics.json").read_text())
    assert figures["images"] == 16
    assert figures["mAP"] == pytest.approx(0.4753845, abs=1e-4)  # by the code that wrote format 0


def test_training_can_start_from_it(run: Path) -> None:
    loaded = Run.load(run)
    torch.manual_seed(1)
    model = model_from_recipe(loaded.recipe, loaded.label_space, load_weights=False)
    start_from_run(model, run)
    state = loaded.state()
    for name, weight in model.backbone.state_dict().items():
        assert torch.equal(weight, state[f"backbone.{name}"])


def test_tuning_keeps_the_version(run: Path) -> None:
    before = Run.load(run)
    before.save_thresholds(torch.full((14,), 0.25), temperature=2.0)
    after = Run.load(run)
    assert after.format_version == before.format_version
    assert after.temperature == 2
    assert torch.equal(after.thresholds, torch.full((14,), 0.25))
    assert torch.equal(after.frequencies, before.frequencies)  # type: ignore[arg-type]
