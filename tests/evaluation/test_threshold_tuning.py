from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tagformer import Tagger
from tagformer.data import load_dataset
from tagformer.errors import TagformerError
from tagformer.evaluation.comparison import compare
from tagformer.evaluation.evaluate import Evaluation
from tagformer.evaluation.threshold_tuning import tune
from tagformer.images.reading import load_image
from tagformer.metrics import bootstrap_mAP, evaluate, precision_recall
from tagformer.runs.run import Run, write_labels
from tests.helpers import CommandLine


def said(logits: torch.Tensor, labels: torch.Tensor, names: str = "abc", ids: list[str] | None = None) -> Evaluation:
    """What a model might have said."""
    ids = ids or [f"{number}.jpg" for number in range(len(logits))]
    return Evaluation(evaluate(logits, labels), (), "fixed", (), tuple(names), logits, labels, tuple(ids))


def shifted_case(images: int = 4_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that rank well, but are too extreme, and too low for the rare labels."""
    generator = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(images, 3, generator=generator) - torch.tensor([0.0, 1.5, 3.0])
    labels = (torch.rand(honest.shape, generator=generator) < torch.sigmoid(honest)).to(torch.int8)
    return 2 * honest, labels


def test_tuning_calibrates_and_raises_f1_on_images_that_it_did_not_choose_by() -> None:
    logits, labels = shifted_case()
    tuned = tune(said(logits, labels))
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
    tuned = tune(said(torch.randn(60, 3, generator=generator), labels))
    everything = precision_recall(torch.ones_like(labels, dtype=torch.bool), labels)
    assert tuned.after.decisions.macro_F1 < everything.macro_F1 + 0.05


def test_tune_writes_what_predict_and_evaluate_then_use(
    small_run: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    code, out, error = tagformer("tune", run, "--data", "scenes?images=400&seed=5", "--split", "val", "--workers", "0")
    assert (code, "Traceback" in error) == (0, False)
    assert "each half at what was chosen on the other" in out
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


def test_a_temperature_that_cannot_be_is_refused(small_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    write_labels(run, Run.load(run).label_space, temperature=0)
    with pytest.raises(TagformerError, match="temperature must be above 0"):
        Run.load(run)


# Comparing runs


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 2, (400, 3), generator=generator, dtype=torch.int8)
    weak = 1.5 * labels + torch.randn(labels.shape, generator=generator)
    better = weak + 0.25 * labels
    found = compare([said(weak, labels), said(better, labels)], ["weak", "better"], resamples=300)
    first, second = found.runs
    assert second.difference is not None
    assert second.difference.value == pytest.approx(evaluate(better, labels).mAP - evaluate(weak, labels).mAP)
    assert second.differs
    assert first.mAP.high > second.mAP.low  # the intervals themselves overlap
    samples = bootstrap_mAP([weak, better], labels, resamples=300)
    paired = (samples[1] - samples[0]).std()
    assert paired < 0.5 * (samples[1].std() ** 2 + samples[0].std() ** 2) ** 0.5


def test_runs_are_matched_by_image_and_label_whatever_their_order() -> None:
    logits, labels = shifted_case(60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    ids = [f"{number}.jpg" for number in range(60)]
    other = said(logits[order][:, [2, 0, 1]], labels[order][:, [2, 0, 1]], "cab", [ids[i] for i in order.tolist()])
    found = compare([said(logits, labels), other], ["one", "two"], resamples=30)
    assert found.runs[1].difference is not None
    assert (found.runs[1].difference.low, found.runs[1].difference.high) == (0, 0)
    assert not found.runs[1].differs
    part = said(logits[10:], labels[10:], ids=ids[10:])
    assert (compare([part, other], ["a", "b"], resamples=10).images, compare([part, other], ["a", "b"]).left_out) == (
        50,
        10,
    )


def test_runs_that_cannot_be_compared_are_refused() -> None:
    logits, labels = shifted_case(20)
    one = said(logits, labels)
    with pytest.raises(TagformerError, match="no image in common"):
        compare([one, said(logits, labels, ids=[f"x{i}" for i in range(20)])], ["one", "two"])
    with pytest.raises(TagformerError, match="no label in common"):
        compare([one, said(logits, labels, names="xyz")], ["one", "two"])
    changed = labels.clone()
    changed[3, 1] = 1 - changed[3, 1]
    with pytest.raises(TagformerError, match=r"different labels: image '3\.jpg', label 'b'"):
        compare([one, said(logits, changed)], ["one", "two"])


def test_the_label_differences_go_from_gain_to_loss() -> None:
    labels = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.int8)
    one, two = torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([[0.0, 1, 0], [1, 0, 0]])
    found = compare([said(one, labels), said(two, labels)], ["one", "two"], resamples=10)
    assert found.label_differences(1) == [("b", 0.5, 1.0), ("a", 1.0, 0.5)]


def test_compare_prints_runs_side_by_side(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    other = tmp_path / "other"
    shutil.copytree(small_run, other)
    code, out, _ = tagformer(
        "compare", small_run, other, "--resamples", "20", "--tables", tmp_path / "t", "--workers", "0"
    )
    assert code == 0
    assert "+0.0 to +0.0" in " ".join(out.split())
    assert "cannot be distinguished" in out
    assert "differ" in (tmp_path / "t" / "comparison.md").read_text()
