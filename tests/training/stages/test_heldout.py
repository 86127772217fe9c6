"""Figures on held-out images, against scikit-learn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from tagformer.data import MultiLabelDataset
from tagformer.labels import LabelSpace, draw_known, draw_order
from tagformer.models.evidence import Evidence
from tagformer.training.stages.heldout import (
    HeldOut,
    cross_validated,
    decoded,
    known_curve,
    label_weights,
    mean_average_precision,
    some_labels,
)
from tests.small_models import small
from tests.training.stages.features_in_memory import noise, random_labels


def evidence(labels: int) -> Evidence:
    model = small("evidence", labels)
    assert isinstance(model, Evidence)
    return model


def scikit(logits: Tensor, labels: Tensor) -> list[float]:
    """The average precision of each label over the images on which it is annotated; NaN without a positive."""
    values = []
    for scores, states in zip(logits.T.numpy(), labels.T.numpy(), strict=True):
        known = states != -1
        positive = (states[known] == 1).any()
        values.append(float(average_precision_score(states[known], scores[known])) if positive else math.nan)
    return values


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_the_mean_over_labels(unknown: float) -> None:
    logits, labels = noise(40, 4), random_labels(40, 4, unknown=unknown)
    labels[:, 2] = 0
    assert mean_average_precision(logits, labels) == pytest.approx(np.nanmean(scikit(logits, labels)))
    assert math.isnan(mean_average_precision(logits, torch.zeros_like(labels)))
    weights = torch.tensor([1.0, 0.5, 0.7, 0.1])
    expected = np.average(np.array(scikit(logits, labels))[[0, 1, 3]], weights=[1.0, 0.5, 0.1])  # one has no positive
    assert mean_average_precision(logits, labels, weights) == pytest.approx(expected)


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_cross_validated_is_weighted_by_positives(unknown: float) -> None:
    logits, labels, folds = noise(60, 5), random_labels(60, 5, unknown=unknown), torch.arange(60) % 3
    labels[folds == 1, 0] = 0  # the first label has no positive in one fold,
    labels[:, 3] = 0  # this one has none,
    labels[(folds == 0) & (labels[:, 4] == 1), 4] = 0  # and this one few in another
    labels[0, 4] = 1
    labels[:, 2] = (torch.arange(60) % 13 == 0).to(torch.int8)  # and this one five in all
    expected, weights = [], []
    for label in range(5):
        total, positives = 0.0, 0
        for fold in range(3):
            rows = folds == fold
            count = int((labels[rows, label] == 1).sum())
            if count:
                total += count * scikit(logits[rows, label : label + 1], labels[rows, label : label + 1])[0]
                positives += count
        if positives:
            expected.append(total / positives)
            weights.append(min(10, positives))
    assert len(expected) == 4
    assert min(weights) < 10
    assert cross_validated(logits, labels, folds) == pytest.approx(float(np.average(expected, weights=weights)))


def test_labels_count_by_their_positives_up_to_ten() -> None:
    positives = [12, 10, 9, 1, 0]
    labels = (torch.arange(14).unsqueeze(1) < torch.tensor(positives)).to(torch.int8)
    labels[13] = -1
    assert label_weights(labels).tolist() == pytest.approx([1.0, 1.0, 0.9, 0.1, 0.0])


def test_some_labels_are_drawn_among_those_with_positives() -> None:
    labels = (torch.arange(12).unsqueeze(1) < torch.tensor([9, 4, 3, 0, 12, 4, 1])).to(torch.int8)
    assert some_labels(labels, most=9).tolist() == [0, 1, 4, 5]
    assert some_labels(labels[:, [2, 3, 6]], most=9).tolist() == [0]  # where no label has four: the most there are
    drawn = [tuple(some_labels(labels, most=2, seed=seed).tolist()) for seed in range(60)]
    assert drawn == [tuple(some_labels(labels, most=2, seed=seed).tolist()) for seed in range(60)]
    assert set(drawn) == {(0, 1), (0, 4), (0, 5), (1, 4), (1, 5), (4, 5)}


def test_cross_validated_by_hand() -> None:
    """Fold 0 ranks its positive second of three: 1/2. Fold 1 ranks its two first and third: (1 + 2/3) / 2."""
    logits = torch.tensor([[3.0], [2.0], [1.0], [9.0], [8.0], [7.0]])
    labels = torch.tensor([[0], [1], [0], [1], [0], [1]], dtype=torch.int8)
    folds = torch.tensor([0, 0, 0, 1, 1, 1])
    assert cross_validated(logits, labels, folds) == pytest.approx((1 * 1 / 2 + 2 * 5 / 6) / 3)


def test_a_shift_of_a_fold_s_logits_changes_nothing() -> None:
    logits, labels, folds = noise(60, 3), random_labels(60, 3), torch.arange(60) % 4
    shifted = logits + torch.tensor([0.0, 5.0, -20.0, 1.0])[folds].unsqueeze(1)
    assert cross_validated(shifted, labels, folds) == cross_validated(logits, labels, folds)
    assert mean_average_precision(shifted, labels) != mean_average_precision(logits, labels)
    assert math.isnan(cross_validated(logits, torch.zeros_like(labels), folds))


@torch.no_grad()
def test_decoding_in_parts_is_decoding_at_once() -> None:
    model, z, known = evidence(3), noise(300, 3), random_labels(300, 3, unknown=0.5)
    model.correction_weight.copy_(noise(3, 16))
    torch.testing.assert_close(decoded(model, z), model.decode(z).logits)
    torch.testing.assert_close(decoded(model, z, known), model.decode(z, known).logits)
    assert not torch.allclose(decoded(model, z), decoded(model, z, known))


@torch.no_grad()
def test_the_known_curve() -> None:
    """Label 2 i + 1 is always as label 2 i, and the model knows it by its co-occurrence alone."""
    count, ids = 200, [f"{number}.jpg" for number in range(200)]
    labels = random_labels(count, 4).repeat_interleave(2, dim=1)
    model, z = evidence(8), noise(count, 8)
    model.start_from_cooccurrence(labels, strength=2.0)
    of_shares = list(known_curve(model, z, labels, ids))
    curve = [mean_average_precision(*of_share) for of_share in of_shares]
    # At 0: the evidence alone, scored on the last quarter of each image's order, by scikit-learn.
    order = draw_order(ids, model.label_space)
    scored = torch.full_like(labels, -1)
    for row in range(count):
        scored[row, order[row, 6:]] = labels[row, order[row, 6:]]
    assert (scored != -1).sum(1).unique().tolist() == [2]
    assert all(torch.equal(targets, scored) for _, targets in of_shares)
    assert curve[0] == pytest.approx(np.mean(scikit(z, scored)))
    for share, value in zip((0.25, 0.5, 0.75), curve[1:], strict=True):
        known, targets = draw_known(labels, order, share)
        assert torch.equal(targets, scored)
        assert value == pytest.approx(np.mean(scikit(model.decode(z, known).logits, scored)))
    assert curve == sorted(curve)
    assert curve[3] > curve[0] + 0.2


def test_the_curve_of_an_untrained_encoder_is_flat_but_not_the_mean_average_precision() -> None:
    """So only a head's own curve can be compared with another stage's."""
    labels, z, ids = random_labels(80, 8), noise(80, 8), [str(number) for number in range(80)]
    curve = [mean_average_precision(*of_share) for of_share in known_curve(evidence(8), z, labels, ids)]
    assert len(set(curve)) == 1
    assert curve[0] != pytest.approx(mean_average_precision(z, labels), abs=1e-3)


def held_out_images(count: int = 120, labels: int = 8) -> tuple[HeldOut, Tensor, Tensor]:
    """Every third of some images is held out; also the labels and logits of all."""
    states = random_labels(count, labels, unknown=0.1)
    names, ids = LabelSpace(tuple("abcdefghijkl"[:labels])), [f"{row}.jpg" for row in range(count)]
    dataset = MultiLabelDataset("made up", names, [Path(image_id) for image_id in ids], states, ids)
    return HeldOut(dataset, torch.arange(0, count, 3)), states, noise(count, labels) + 0.5 * states


def test_the_figures_of_logits_are_those_of_a_model_that_changes_nothing() -> None:
    held_out, labels, logits = held_out_images()
    of_logits = held_out.of_logits("head", logits[held_out.rows], seconds=2.0, kept=False)
    of_model = held_out.of_model("head", evidence(8), logits[held_out.rows])
    assert of_logits.mAP == pytest.approx(np.mean(scikit(logits[::3], labels[::3])))
    assert of_logits.mAP == pytest.approx(of_model.mAP)
    assert of_logits.curve == pytest.approx(of_model.curve)
    assert of_logits.score == pytest.approx(of_model.score)
    assert (of_logits.seconds, of_logits.kept) == (2.0, False)


def test_a_rare_label_counts_little_in_the_figures() -> None:
    held_out, labels, logits = held_out_images(labels=9)
    assert (held_out.weights == 1).all()
    labels[:, 8] = 0
    labels[[0, 3], 8] = 1
    held_out.labels, held_out.weights = labels[held_out.rows], label_weights(labels[held_out.rows])
    assert held_out.weights.tolist() == pytest.approx([1.0] * 8 + [0.2])
    expected = np.average(scikit(logits[::3], labels[::3]), weights=[1.0] * 8 + [0.2])
    assert held_out.of_logits("head", logits[held_out.rows]).mAP == pytest.approx(expected)
    assert held_out.of_model("head", evidence(9), logits[held_out.rows]).mAP == pytest.approx(expected)


def test_the_figures_of_some_labels() -> None:
    held_out, labels, logits = held_out_images()
    columns = torch.tensor([1, 4, 6])
    figures = held_out.of_logits("linear", logits[held_out.rows][:, columns], columns)
    assert figures.mAP == pytest.approx(np.mean(scikit(logits[::3, columns], labels[::3, columns])))


@torch.no_grad()
def test_the_figures_of_a_model_follow_its_known_labels() -> None:
    held_out, labels, logits = held_out_images()
    model = evidence(8)
    model.start_from_cooccurrence(labels, strength=1.0)
    stage = held_out.of_model("evidence", model, logits[held_out.rows])
    assert stage.mAP == held_out.of_logits("head", logits[held_out.rows]).mAP
    assert stage.curve[0] == pytest.approx(held_out.of_logits("head", logits[held_out.rows]).curve[0])
    pairs = known_curve(model, logits[held_out.rows], held_out.labels, held_out.ids)
    assert stage.curve == pytest.approx([mean_average_precision(*pair) for pair in pairs])
    assert len(set(stage.curve)) == 4
