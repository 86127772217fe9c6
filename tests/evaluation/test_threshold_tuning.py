"""Thresholds and a temperature chosen on held-out images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tagformer import Tagger
from tagformer.data import load_dataset
from tagformer.errors import TagformerError
from tagformer.evaluation.threshold_tuning import tune
from tagformer.images.reading import load_image
from tagformer.metrics import precision_recall
from tagformer.runs.run import Run, write_labels
from tests.helpers import CommandLine, evaluation_of, shifted_case


def test_tuning_calibrates_and_raises_f1_on_images_that_it_did_not_choose_by() -> None:
    logits, labels = shifted_case()
    tuned = tune(evaluation_of(logits, labels))
    assert tuned.temperature == pytest.approx(2, rel=0.1)
    assert tuned.after.calibration_error < tuned.before.calibration_error / 3
    assert tuned.after.decisions.macro_F1 > tuned.before.decisions.macro_F1 + 0.02
    fresh, truth = shifted_case(8_000)
    fresh, truth = fresh[4_000:], truth[4_000:]
    decisions = precision_recall(torch.sigmoid(fresh / tuned.temperature) >= tuned.thresholds.values, truth)
    assert decisions.macro_F1 == pytest.approx(tuned.after.decisions.macro_F1, abs=0.02)


def test_noise_gains_nothing_by_being_tuned() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 2, (60, 3), generator=generator, dtype=torch.int8)
    tuned = tune(evaluation_of(torch.randn(60, 3, generator=generator), labels))
    everything = precision_recall(torch.ones_like(labels, dtype=torch.bool), labels)
    assert tuned.after.decisions.macro_F1 < everything.macro_F1 + 0.05


def test_tune_writes_what_predict_and_evaluate_then_use(
    small_run: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    code, out, error = tagformer("tune", run, "--data", "scenes?images=400&seed=5", "--split", "val", "--workers", "0")
    assert (code, "Traceback" in error) == (0, False)
    assert "each half is scored at the thresholds chosen on the other" in out
    tuned = Run.load(run)
    targets = tuned.label_space.is_target
    assert (tuned.thresholds[targets] != 0.5).any()
    assert (tuned.thresholds[~targets] == 0.5).all()
    assert tuned.temperature != 1
    dataset = load_dataset(str(tuned.recipe.data.spec), "test").align_to(tuned.label_space)
    pictures = [load_image(image) for image in dataset.images]
    before, after = (Tagger.load(folder).predict(pictures[0])[0] for folder in (small_run, run))
    torch.testing.assert_close(
        torch.logit(after.probabilities) * tuned.temperature, torch.logit(before.probabilities), atol=1e-4, rtol=1e-4
    )
    assert [tag.name for tag in after.ranked] == [tag.name for tag in before.ranked]
    assert torch.equal(after.thresholds, tuned.thresholds)

    assert tagformer("evaluate", run, "--tuned", "--out", tmp_path / "tuned.json")[0] == 0
    figures = json.loads((tmp_path / "tuned.json").read_text())
    predictions = Tagger.load(run).predict(pictures)
    chosen = torch.stack([each.probabilities >= each.thresholds for each in predictions])
    assert figures["OF1"] == pytest.approx(precision_recall(chosen[:, targets], dataset.labels[:, targets]).OF1)


def test_uncalibrated_thresholds_make_the_same_decisions() -> None:
    logits, _ = shifted_case(50)
    run = Run.__new__(Run)
    object.__setattr__(run, "thresholds", torch.tensor([0.3, 0.5, 0.9]))
    object.__setattr__(run, "temperature", 2.5)
    calibrated = torch.sigmoid(logits / 2.5) >= run.thresholds
    assert torch.equal(torch.sigmoid(logits) >= run.uncalibrated_thresholds, calibrated)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("tune", "{run}", "--data", "scenes?images=40"), "too few to tune on"),
        (("tune", "{run}", "--split", "vla"), "unknown split 'vla'"),
        (("evaluate", "{run}", "--tuned", "--threshold", "0.3"), "contradict each other"),
        (("evaluate", "{run}", "--protocol", "coco"), "--protocol coco"),
        (("compare", "{run}"), "at least two run folders"),
        (("compare", "{run}", "{run}/checkpoints"), "is not a run folder"),
        (("report", "{run}/nothing"), "is not a run folder"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, small_run: Path, tagformer: CommandLine
) -> None:
    code, _, error = tagformer(*(argument.format(run=small_run) for argument in arguments))
    assert code == 2
    assert sentence in error
    assert "Traceback" not in error


def test_an_impossible_temperature_is_rejected(small_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    write_labels(run, Run.load(run).label_space, temperature=0)
    with pytest.raises(TagformerError, match="temperature must be above 0"):
        Run.load(run)
