"""Precision, recall and F1 of decisions, the figures of whole images, and the k highest labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, f1_score, hamming_loss, precision_score, recall_score

from tagformer.metrics import image_scores, precision_recall, top_k
from tests.random_scores import random_scores


@pytest.mark.parametrize("seed", range(5))
def test_precision_and_recall_are_scikit_learns(seed: int) -> None:
    scores, labels = random_scores(seed, images=12)
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
    scores, labels = random_scores(seed, images=30, labels=4)
    labels[0] = 0
    predicted = scores > 0.2
    predicted[0] = False  # no positives and no predictions
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


def test_decisions_of_another_shape_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 2\)"):
        precision_recall(torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.int8))


@pytest.mark.parametrize("seed", range(3))
def test_unknown_entries_count_neither_as_right_nor_as_wrong(seed: int) -> None:
    scores, labels = random_scores(seed, images=15, unknown=True)
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
