from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    hamming_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)
from torch import Tensor

from tagformer.metrics import (
    area_under_roc,
    average_precision,
    average_precision_by_size,
    evaluate,
    image_scores,
    label_frequency_baseline,
    precision_recall,
    precision_recall_curve,
    top_k,
)


def column(*values: float) -> Tensor:
    """A single label's values, (N, 1)."""
    return torch.tensor(values).unsqueeze(1)


def random_case(seed: int, images: int = 40, labels: int = 6, unknown: bool = False) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(size=(images, labels)))
    states = torch.from_numpy(rng.integers(-1 if unknown else 0, 2, (images, labels)).astype(np.int8))
    return scores, states


# Average precision


@settings(deadline=None, max_examples=150)
@given(data=st.data(), images=st.integers(1, 25), labels=st.integers(1, 4))
def test_average_precision_is_scikit_learns_with_ties_and_missing_entries(
    data: st.DataObject, images: int, labels: int
) -> None:
    ranks = data.draw(arrays(np.int64, (images, labels), elements=st.integers(-4, 4)))
    states = data.draw(arrays(np.int8, (images, labels), elements=st.integers(-1, 1)))
    scores = ranks / 7
    result = average_precision(torch.from_numpy(scores), torch.from_numpy(states))
    assert result.dtype == torch.float64
    for label in range(labels):
        annotated = states[:, label] != -1
        truth = states[annotated, label]
        if not truth.any():
            assert math.isnan(result[label].item())
        else:
            wanted = average_precision_score(truth, scores[annotated, label])
            assert result[label].item() == pytest.approx(wanted, abs=1e-12)


def test_average_precision_without_ties_is_the_mean_precision_at_the_positives() -> None:
    scores, labels = random_case(3, unknown=True)
    for label, result in enumerate(average_precision(scores, labels).tolist()):
        order = sorted(range(len(scores)), key=lambda i: -scores[i, label].item())
        seen = [labels[i, label].item() for i in order if labels[i, label] != -1]
        precisions = [sum(seen[: rank + 1]) / (rank + 1) for rank, positive in enumerate(seen) if positive]
        assert result == pytest.approx(sum(precisions) / len(precisions), abs=1e-12)


def test_average_precision_depends_on_the_order_of_the_scores_alone() -> None:
    scores, labels = random_case(4, unknown=True)
    wanted = average_precision(scores, labels)
    assert torch.equal(average_precision(torch.sigmoid(scores), labels), wanted)
    shuffled = torch.randperm(len(scores), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(average_precision(scores[shuffled], labels[shuffled]), wanted, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32])
def test_scores_of_any_floating_type_are_ranked_as_they_are(kind: torch.dtype) -> None:
    scores, labels = random_case(5)
    scores = scores.to(kind)
    assert torch.equal(average_precision(scores, labels), average_precision(scores.double(), labels))


def test_scores_that_are_nan_or_of_another_shape_are_refused() -> None:
    labels = torch.ones(2, 2, dtype=torch.int8)
    with pytest.raises(ValueError, match="NaN"):
        average_precision(torch.tensor([[0.0, math.nan], [0, 0]]), labels)
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 2\)"):
        average_precision(torch.zeros(2, 3), labels)
    with pytest.raises(ValueError, match=r"must both be \(N, L\)"):
        average_precision(torch.zeros(2), labels[:, 0])


def curve_by_hand(scores: Tensor, labels: Tensor) -> list[tuple[float, float]]:
    """(recall, precision) with the threshold at each different score, from the highest down."""
    points = []
    for cut in sorted(set(scores.tolist()), reverse=True):
        chosen = labels[scores >= cut]
        points.append(((chosen == 1).sum().item() / (labels == 1).sum().item(), (chosen == 1).double().mean().item()))
    return points


@settings(deadline=None, max_examples=100)
@given(data=st.data(), images=st.integers(1, 30))
def test_interpolated_average_precision_follows_the_definition(data: st.DataObject, images: int) -> None:
    scores = torch.from_numpy(data.draw(arrays(np.int64, (images,), elements=st.integers(-6, 6)))).double()
    labels = torch.from_numpy(data.draw(arrays(np.int8, (images,), elements=st.integers(0, 1))))
    labels[0] = 1
    points = curve_by_hand(scores, labels)

    def highest(recall: float) -> float:
        return max(precision for own, precision in points if own >= recall - 1e-9)

    eleven = sum(highest(step / 10) for step in range(11)) / 11
    steps, before = 0.0, 0.0
    for recall, _ in points:
        steps += (recall - before) * highest(recall)
        before = recall
    pair = scores.unsqueeze(1), labels.unsqueeze(1)
    assert average_precision(*pair, interpolation="11-point").item() == pytest.approx(eleven, abs=1e-12)
    assert average_precision(*pair, interpolation="area").item() == pytest.approx(steps, abs=1e-12)


def test_the_precision_recall_curve_ends_at_full_recall_and_has_the_average_precision_as_mean() -> None:
    scores, labels = random_case(9, unknown=True)
    scores = scores.round(decimals=1)  # some ties
    precision, recall = precision_recall_curve(scores[:, 0], labels[:, 0])
    assert recall[-1] == 1
    assert (recall.diff() >= 0).all()
    assert precision.mean().item() == pytest.approx(average_precision(scores, labels)[0].item())
    annotated = labels[:, 0] != -1
    by_hand = curve_by_hand(scores[annotated, 0], labels[annotated, 0])
    for point in zip(recall.tolist(), precision.tolist(), strict=True):
        assert any(point == pytest.approx(other) for other in by_hand)


@settings(deadline=None, max_examples=100)
@given(data=st.data(), images=st.integers(1, 25))
def test_area_under_roc_is_scikit_learns(data: st.DataObject, images: int) -> None:
    scores = data.draw(arrays(np.int64, (images, 2), elements=st.integers(-4, 4))) / 3
    states = data.draw(arrays(np.int8, (images, 2), elements=st.integers(-1, 1)))
    result = area_under_roc(torch.from_numpy(scores), torch.from_numpy(states))
    for label in range(2):
        annotated = states[:, label] != -1
        truth = states[annotated, label]
        if truth.all() or not truth.any():
            assert math.isnan(result[label].item())
        else:
            assert result[label].item() == pytest.approx(roc_auc_score(truth, scores[annotated, label]), abs=1e-12)


@pytest.mark.parametrize("labels", [1, 16, 17, 40])
def test_every_column_has_its_own_figure_however_many_there_are(labels: int) -> None:
    scores, states = random_case(12, images=30, labels=labels, unknown=True)
    together = average_precision(scores, states)
    alone = [average_precision(scores[:, i : i + 1], states[:, i : i + 1]).item() for i in range(labels)]
    assert together.tolist() == alone


def test_average_precision_by_size_leaves_the_other_sizes_positives_out() -> None:
    scores = torch.tensor([[0.9], [0.8], [0.7], [0.6], [0.5]])
    labels = torch.tensor([[1], [0], [1], [0], [1]], dtype=torch.int8)
    sizes = torch.tensor([[3], [0], [1], [0], [1]], dtype=torch.int8)
    result = {name: values.item() for name, values in average_precision_by_size(scores, labels, sizes).items()}
    assert result["large"] == 1.0
    assert result["small"] == pytest.approx((1 / 2 + 2 / 4) / 2)  # ranked: absent, small, absent, small
    assert math.isnan(result["medium"])
    with pytest.raises(ValueError, match="sizes"):
        average_precision_by_size(scores, labels, sizes[:3])


# Precision and recall


@pytest.mark.parametrize("seed", range(5))
def test_precision_and_recall_are_scikit_learns(seed: int) -> None:
    scores, labels = random_case(seed, images=12)
    labels[:, 0] = 0  # a label without a positive
    predicted = scores > 0.3
    predicted[:, 1] = False  # a label never predicted
    counted = (labels == 1).any(0).numpy()
    truth, chosen = labels.numpy(), predicted.numpy()
    result = precision_recall(predicted, labels)
    per_class = {"average": None, "zero_division": 0}
    assert pytest.approx(precision_score(truth, chosen, **per_class)[counted].mean()) == result.CP
    assert pytest.approx(recall_score(truth, chosen, **per_class)[counted].mean()) == result.CR
    assert pytest.approx(precision_score(truth, chosen, average="micro")) == result.OP
    assert pytest.approx(recall_score(truth, chosen, average="micro")) == result.OR
    assert pytest.approx(2 / (1 / result.CP + 1 / result.CR)) == result.CF1
    assert pytest.approx(2 / (1 / result.OP + 1 / result.OR)) == result.OF1
    assert pytest.approx(f1_score(truth, chosen, **per_class)[counted].mean()) == result.macro_F1
    everything = precision_recall(predicted, labels, empty="zero", class_f1="mean")
    assert pytest.approx(precision_score(truth, chosen, average="macro", zero_division=0)) == everything.CP
    assert pytest.approx(recall_score(truth, chosen, average="macro", zero_division=0)) == everything.CR
    assert pytest.approx(f1_score(truth, chosen, average="macro", zero_division=0)) == everything.CF1


@pytest.mark.parametrize("seed", range(4))
def test_the_scores_of_whole_images_are_scikit_learns(seed: int) -> None:
    scores, labels = random_case(seed, images=30, labels=4)
    labels[0] = 0
    predicted = scores > 0.2
    predicted[0] = False  # nothing to find, nothing found
    predicted[1] = labels[1] == 1
    truth, chosen = labels.numpy(), predicted.numpy()
    result = image_scores(predicted, labels)
    assert result.subset_accuracy == pytest.approx(accuracy_score(truth, chosen))
    assert result.hamming_loss == pytest.approx(hamming_loss(truth, chosen))
    assert pytest.approx(f1_score(truth, chosen, average="samples", zero_division=1)) == result.example_F1


def test_entries_and_images_without_annotation_do_not_count_in_the_scores_of_images() -> None:
    labels = torch.tensor([[1, 0, -1], [-1, -1, -1], [1, -1, 0]], dtype=torch.int8)
    predicted = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 1, 0]], dtype=torch.bool)
    result = image_scores(predicted, labels)
    assert (result.subset_accuracy, result.hamming_loss, result.example_F1) == (0.5, 0.25, 0.5)
    assert math.isnan(image_scores(predicted, torch.full((3, 3), -1)).example_F1)


def test_decisions_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 2\)"):
        precision_recall(torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.int8))


@pytest.mark.parametrize("seed", range(3))
def test_unknown_entries_count_neither_as_right_nor_as_wrong(seed: int) -> None:
    scores, labels = random_case(seed, images=15, unknown=True)
    predicted = scores > 0
    result = precision_recall(predicted, labels)
    annotated = labels != -1
    truth, chosen = labels[annotated].numpy(), predicted[annotated].numpy()
    assert pytest.approx(precision_score(truth, chosen)) == result.OP
    assert pytest.approx(recall_score(truth, chosen)) == result.OR
    columns = [(labels[annotated[:, i], i].numpy(), predicted[annotated[:, i], i].numpy()) for i in range(6)]
    assert pytest.approx(np.mean([precision_score(*each, zero_division=0) for each in columns])) == result.CP
    assert pytest.approx(np.mean([recall_score(*each) for each in columns])) == result.CR
    assert precision_recall(predicted ^ ~annotated, labels) == result


def test_predicting_nothing_has_precision_recall_and_f1_zero() -> None:
    labels = torch.tensor([[1, 0], [0, 1]], dtype=torch.int8)
    result = precision_recall(torch.zeros(2, 2, dtype=torch.bool), labels)
    assert (result.CP, result.CR, result.CF1, result.OP, result.OR, result.OF1) == (0,) * 6


@pytest.mark.parametrize("predicted", [True, False])
def test_without_any_positive_every_figure_is_nan(predicted: bool) -> None:
    result = precision_recall(torch.full((3, 2), predicted), torch.zeros(3, 2, dtype=torch.int8))
    for figure in ("CP", "CR", "CF1", "OP", "OR", "OF1"):
        assert math.isnan(getattr(result, figure)), figure


# The k highest


@settings(deadline=None, max_examples=100)
@given(data=st.data(), images=st.integers(1, 5), labels=st.integers(1, 7), k=st.integers(1, 9))
def test_top_k_takes_exactly_k_annotated_labels_and_lower_columns_first(
    data: st.DataObject, images: int, labels: int, k: int
) -> None:
    scores = data.draw(arrays(np.int64, (images, labels), elements=st.integers(-2, 2))).astype(np.float32)
    states = data.draw(arrays(np.int8, (images, labels), elements=st.integers(-1, 1)))
    chosen = top_k(torch.from_numpy(scores), torch.from_numpy(states), k)
    for row in range(images):
        annotated = [i for i in range(labels) if states[row, i] != -1]
        best = sorted(annotated, key=lambda i: (-scores[row, i], i))[:k]
        assert torch.nonzero(chosen[row]).flatten().tolist() == sorted(best)


def test_among_many_equal_scores_the_first_columns_are_taken() -> None:
    chosen = top_k(torch.zeros(2, 80), torch.zeros(2, 80, dtype=torch.int8), 3)
    assert [torch.nonzero(row).flatten().tolist() for row in chosen] == [[0, 1, 2], [0, 1, 2]]


# All figures together


def test_evaluate_gathers_the_figures_of_its_parts() -> None:
    logits, labels = random_case(7, unknown=True)
    scores = evaluate(logits, labels, threshold=0.6, top_k=2)
    assert scores.mAP == pytest.approx(average_precision(logits, labels).mean().item())
    assert scores.all == precision_recall(1 / (1 + torch.exp(-logits)) >= 0.6, labels)
    assert scores.top == precision_recall(top_k(logits, labels, 2), labels)
    assert (scores.images, scores.labels_scored, scores.threshold, scores.top_k) == (40, 6, 0.6, 2)


def test_the_map_of_nothing_is_nan() -> None:
    scores = evaluate(torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int8))
    assert math.isnan(scores.mAP)
    assert scores.labels_scored == 0


def test_scores_become_json_by_name_with_null_for_nan() -> None:
    logits = torch.tensor([[2.0, 1.0], [-1.0, 0.5]])
    scores = evaluate(logits, torch.tensor([[1, 0], [0, 0]], dtype=torch.int8), top_k=1)
    content = json.loads(json.dumps(scores.to_dict(("cat", "dog")), allow_nan=False))
    assert content["average_precision"] == {"cat": 1.0, "dog": None}
    assert content["mAP"] == 1.0
    assert content["OP"] == pytest.approx(1 / 3)  # cat right, dog wrong twice
    assert content["OP_top1"] == 0.5


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="protocol must be one of tagformer"):
        evaluate(torch.zeros(1, 1), torch.ones(1, 1), protocol="guess")


def test_probabilities_are_taken_as_such_only_when_said_to_be() -> None:
    logits, labels = random_case(13)
    wanted = evaluate(logits, labels, threshold=0.7)
    said = evaluate(torch.sigmoid(logits), labels, threshold=0.7, given="probabilities")
    assert said.all == wanted.all
    assert said.mAP == wanted.mAP
    assert evaluate(torch.sigmoid(logits), labels, threshold=0.5).all.OR == 1  # taken as logits: all above 0
    with pytest.raises(ValueError, match="between 0 and 1"):
        evaluate(logits, labels, given="probabilities")


def test_each_label_may_have_its_own_threshold() -> None:
    logits = torch.tensor([[0.0, 0.0], [3.0, -3.0]])
    labels = torch.tensor([[1, 0], [1, 1]], dtype=torch.int8)
    scores = evaluate(logits, labels, threshold=torch.tensor([0.9, 0.01]))
    assert (scores.all.OP, scores.all.OR) == (2 / 3, 2 / 3)
    assert scores.threshold == pytest.approx(0.455)


def test_only_the_entries_that_are_scored_count() -> None:
    logits, labels = random_case(14)
    scored = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    result = evaluate(logits, labels, scored=scored)
    wanted = evaluate(logits, labels.masked_fill(~scored, -1))
    assert (result.mAP, result.all, result.image) == (wanted.mAP, wanted.all, wanted.image)
    ctran = evaluate(logits, labels, protocol="ctran", scored=scored)  # mAP alone is restricted
    assert ctran.mAP == pytest.approx(wanted.mAP)
    assert ctran.all == evaluate(logits, labels, protocol="ctran").all


def test_the_frequency_baseline_is_the_map_of_constant_scores() -> None:
    _, labels = random_case(8, unknown=True)
    labels[:, 0] = 0
    annotated = [labels[labels[:, i] != -1, i].numpy() for i in range(1, 6)]
    wanted = np.mean([average_precision_score(truth, np.zeros(len(truth))) for truth in annotated])
    assert label_frequency_baseline(labels) == pytest.approx(wanted)
    assert evaluate(torch.zeros(labels.shape), labels).mAP == pytest.approx(wanted)
