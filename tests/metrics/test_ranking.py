"""Average precision in its variants, the area under the ROC curve, and average precision by object size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from tagformer.metrics import (
    area_under_roc,
    average_precision,
    average_precision_by_size,
    precision_recall_curve,
)
from tests.random_scores import random_scores


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
            expected = average_precision_score(truth, scores[annotated, label])
            assert result[label].item() == pytest.approx(expected, abs=1e-12)


def test_average_precision_without_ties_is_the_mean_precision_at_the_positives() -> None:
    scores, labels = random_scores(3, unknown=True)
    for label, result in enumerate(average_precision(scores, labels).tolist()):
        order = sorted(range(len(scores)), key=lambda i: -scores[i, label].item())
        seen = [labels[i, label].item() for i in order if labels[i, label] != -1]
        precisions = [sum(seen[: rank + 1]) / (rank + 1) for rank, positive in enumerate(seen) if positive]
        assert result == pytest.approx(sum(precisions) / len(precisions), abs=1e-12)


def test_average_precision_depends_on_the_order_of_the_scores_alone() -> None:
    scores, labels = random_scores(4, unknown=True)
    expected = average_precision(scores, labels)
    assert torch.equal(average_precision(torch.sigmoid(scores), labels), expected)
    shuffled = torch.randperm(len(scores), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(average_precision(scores[shuffled], labels[shuffled]), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32])
def test_scores_of_any_floating_type_are_ranked_as_they_are(kind: torch.dtype) -> None:
    scores, labels = random_scores(5)
    scores = scores.to(kind)
    assert torch.equal(average_precision(scores, labels), average_precision(scores.double(), labels))


def test_scores_that_are_nan_or_of_another_shape_are_an_error() -> None:
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
        return max(precision for reached, precision in points if reached >= recall - 1e-9)

    eleven = sum(highest(step / 10) for step in range(11)) / 11
    steps, before = 0.0, 0.0
    for recall, _ in points:
        steps += (recall - before) * highest(recall)
        before = recall
    pair = scores.unsqueeze(1), labels.unsqueeze(1)
    assert average_precision(*pair, interpolation="11-point").item() == pytest.approx(eleven, abs=1e-12)
    assert average_precision(*pair, interpolation="area").item() == pytest.approx(steps, abs=1e-12)


def test_the_precision_recall_curve_ends_at_full_recall_and_has_the_average_precision_as_mean() -> None:
    scores, labels = random_scores(9, unknown=True)
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
def test_a_label_has_the_same_figure_alone_and_among_others(labels: int) -> None:
    scores, states = random_scores(12, images=30, labels=labels, unknown=True)
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
