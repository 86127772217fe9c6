"""All figures of one evaluation together."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tagformer.metrics import (
    average_precision,
    evaluate,
    label_frequency_baseline,
    precision_recall,
    top_k,
)
from tests.random_scores import random_scores


def test_evaluate_gathers_the_figures_of_its_parts() -> None:
    logits, labels = random_scores(7, unknown=True)
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


def test_an_unknown_protocol_is_an_error() -> None:
    with pytest.raises(ValueError, match="protocol must be one of tagformer"):
        evaluate(torch.zeros(1, 1), torch.ones(1, 1), protocol="guess")


def test_probabilities_are_accepted_only_where_they_are_declared() -> None:
    logits, labels = random_scores(13)
    expected = evaluate(logits, labels, threshold=0.7)
    declared = evaluate(torch.sigmoid(logits), labels, threshold=0.7, given="probabilities")
    assert declared.all == expected.all
    assert declared.mAP == expected.mAP
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
    logits, labels = random_scores(14)
    scored = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    result = evaluate(logits, labels, scored=scored)
    expected = evaluate(logits, labels.masked_fill(~scored, -1))
    assert (result.mAP, result.all, result.image) == (expected.mAP, expected.all, expected.image)
    ctran = evaluate(logits, labels, protocol="ctran", scored=scored)  # mAP alone is restricted
    assert ctran.mAP == pytest.approx(expected.mAP)
    assert ctran.all == evaluate(logits, labels, protocol="ctran").all


def test_the_frequency_baseline_is_the_map_of_constant_scores() -> None:
    _, labels = random_scores(8, unknown=True)
    labels[:, 0] = 0
    annotated = [labels[labels[:, i] != -1, i].numpy() for i in range(1, 6)]
    expected = np.mean([average_precision_score(truth, np.zeros(len(truth))) for truth in annotated])
    assert label_frequency_baseline(labels) == pytest.approx(expected)
    assert evaluate(torch.zeros(labels.shape), labels).mAP == pytest.approx(expected)
