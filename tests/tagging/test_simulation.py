"""The simulated annotator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tagformer.data import load_dataset
from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.images import Preprocessing
from tagformer.labels import UNKNOWN
from tagformer.labels.masking import draw_order
from tagformer.metrics import average_precision
from tagformer.models import CTran, create_model
from tagformer.tagging.simulation import ORDERS, simulate
from tests.helpers import CommandLine

PREPROCESSING = Preprocessing(size=32)


@pytest.fixture(scope="module")
def dataset() -> MultiLabelDataset:
    return load_dataset("scenes?images=120", "test")


@pytest.fixture(scope="module")
def model(dataset: MultiLabelDataset) -> CTran:
    torch.manual_seed(0)
    model = create_model("ctran", dataset.label_space, "tiny", width=16, layers=1)
    assert isinstance(model, CTran)
    with torch.no_grad():
        model.state_embedding.weight[1:] *= 10  # so that answers change its logits
    return model.eval()


def test_the_curve_starts_at_regular_inference_and_ends_where_all_labels_are_known(
    dataset: MultiLabelDataset, model: CTran
) -> None:
    count = int(dataset.label_space.is_target.sum())
    found = simulate(model, dataset, PREPROCESSING, questions=count, workers=0, batch_size=7)
    assert found.images == len(dataset)
    assert [curve.order for curve in found.curves] == list(ORDERS)
    from tagformer.evaluation import EvaluationOptions, evaluate_model

    plain = evaluate_model(model, dataset, PREPROCESSING, EvaluationOptions(workers=0))
    for curve in found.curves:
        assert len(curve.mAP) == len(curve.correct) == count + 1
        assert curve.mAP[0] == pytest.approx(plain.regular.mAP, abs=1e-9)
        assert (curve.mAP[-1], curve.correct[-1]) == (1.0, 1.0)
        assert curve.correct[0] == pytest.approx(plain.regular.image.subset_accuracy, abs=1e-6)


def test_random_questions_follow_the_known_labels_drawn_at_evaluation(dataset: MultiLabelDataset, model: CTran) -> None:
    found = simulate(model, dataset, PREPROCESSING, questions=3, orders=["random"], seeds=[0, 5], workers=0)
    assert len(found.curves) == 2
    assert found.curves[0] != found.curves[1]
    mean = found.mean("random")
    assert mean.mAP[2] == pytest.approx((found.curves[0].mAP[2] + found.curves[1].mAP[2]) / 2)
    # By hand: the first three labels of each image's order are known, the answers put at the ends of the ranking.
    space = dataset.label_space
    order = draw_order(dataset.ids, space, 5)[:, :3]
    labels = dataset.labels
    known = torch.full_like(labels, UNKNOWN).scatter_(1, order, labels.gather(1, order))
    from tagformer.data.loader.loader import evaluation_loader
    from tagformer.images.transforms import evaluation_transform, normalise

    (batch,) = evaluation_loader(dataset, evaluation_transform(32), len(dataset), 0)
    with torch.inference_mode():
        probabilities = torch.sigmoid(model(normalise(batch.images, (0.5,) * 3, (0.5,) * 3), known).logits.double())
    final = torch.where(known == UNKNOWN, probabilities, 3.0 * known - 1)[:, space.is_target]
    expected = average_precision(final, labels[:, space.is_target]).nanmean().item()
    assert found.curves[1].mAP[3] == pytest.approx(expected, abs=1e-6)


def test_labels_that_nobody_annotated_are_not_asked_about(dataset: MultiLabelDataset, model: CTran) -> None:
    labels = dataset.labels.clone()
    labels[:, 2:] = UNKNOWN
    partly = dataset.replace(labels=labels)
    found = simulate(model, partly, PREPROCESSING, questions=4, workers=0)
    for curve in found.curves:
        assert curve.mAP[2:] == (1.0,) * 3  # two answers are all there are
        assert all(share != share for share in curve.correct)  # no image is annotated in full
    assert found.to_dict()["curves"][0]["correct"] == [None] * 5
    json.dumps(found.to_dict(), allow_nan=False)


def test_what_cannot_be_simulated_is_said(dataset: MultiLabelDataset, model: CTran) -> None:
    with pytest.raises(TagformerError, match="'linear' does not use known labels"):
        simulate(create_model("linear", dataset.label_space, "tiny"), dataset, PREPROCESSING, questions=1)
    with pytest.raises(TagformerError, match="unknown order 'alphabetical': use random, uncertain, informative"):
        simulate(model, dataset, PREPROCESSING, questions=1, orders=["alphabetical"])


def test_the_command_writes_figures_and_a_picture(tagformer: CommandLine, small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "simulated"
    code, printed, _ = tagformer("simulate", small_run, "--questions", 3, "--images", 6, "--out", out, "--workers", 0)
    assert code == 0, printed
    assert "informative" in printed
    written = json.loads((out / "simulation.json").read_text())
    assert (written["images"], written["questions"]) == (6, 3)
    assert [curve["order"] for curve in written["curves"]] == ["random", "random", "random", "uncertain", "informative"]
    assert (out / "simulation.svg").read_text().startswith("<svg")
    code, _, error = tagformer("simulate", small_run, "--orders", "alphabetical", "--out", out)
    assert code == 2
    assert error == "tagformer: --orders alphabetical: use random or uncertain or informative.\n"
    code, _, error = tagformer("simulate", small_run, "--out", out / "simulation.json")
    assert code == 2
    assert "simulation.json is a file: name a folder for --out" in error


def test_an_order_named_twice_is_drawn_once(dataset: MultiLabelDataset, model: CTran) -> None:
    twice = simulate(model, dataset, PREPROCESSING, questions=1, orders=["random", "random"], seeds=[0, 0], workers=0)
    assert twice == simulate(model, dataset, PREPROCESSING, questions=1, orders=["random"], workers=0)


def test_images_are_taken_evenly_over_the_split(
    tagformer: CommandLine, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    subset = MultiLabelDataset.subset

    def noted(self: MultiLabelDataset, rows: list[int]) -> MultiLabelDataset:
        seen.append(rows)
        return subset(self, rows)

    monkeypatch.setattr(MultiLabelDataset, "subset", noted)
    orders = ("--questions", 1, "--orders", " uncertain,uncertain", "--workers", 0)
    code, _, error = tagformer("simulate", small_run, *orders, "--images", 9, "--out", tmp_path / "simulated")
    assert code == 0, error
    count = len(load_dataset("scenes?images=96&faint=0", "test"))
    assert 9 < count < 18
    assert seen[-1] == [number * count // 9 for number in range(9)]
    assert len(json.loads((tmp_path / "simulated" / "simulation.json").read_text())["curves"]) == 1


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_answers_are_right_at_any_threshold(dataset: MultiLabelDataset, model: CTran, threshold: float) -> None:
    count = len(dataset.label_space)
    bars = torch.full((count,), threshold)
    found = simulate(model, dataset, PREPROCESSING, questions=count, orders=["random"], thresholds=bars, workers=0)
    assert found.curves[0].correct[-1] == 1.0
