"""Thresholds and temperature from out-of-fold predictions."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import f1_score

from tagformer.training.stages.calibration import FEW, choose_thresholds


def test_a_case_worked_by_hand() -> None:
    # 12 images and three labels. Of the first, 10 images are positive, with logits above all negatives but one.
    # The second has a single positive, the third none.
    first = torch.tensor([4.0] * 9 + [1.0, 2.0, -4.0])
    labels = torch.zeros(12, 3, dtype=torch.int8)
    labels[:10, 0] = 1
    second = torch.full((12,), -4.0)
    second[3], labels[3, 1] = 1.0, 1
    third = torch.full((12,), -4.0)
    logits = torch.stack([first, second, third], dim=1)
    thresholds, temperature = choose_thresholds(logits, labels)
    # Label 1: 9 of 9 above 2 (F1 18/19 = 0.947), with the negative at 2 18/20, with the positive at 1 20/21 = 0.952.
    # So the threshold is halfway between the probabilities at the logits 1 and -4.
    one, low = (1 / (1 + math.exp(-x / temperature)) for x in (1.0, -4.0))
    assert thresholds[0].item() == pytest.approx((one + low) / 2, abs=1e-6)
    # All labels together: 11 positives. Above -4 lie all of them and one negative: F1 22/23. It is the same cut.
    assert thresholds[1].item() == thresholds[2].item() == pytest.approx((one + low) / 2, abs=1e-6)


def test_the_common_threshold_is_the_best_of_all_entries_and_an_own_one_that_of_the_label() -> None:
    generator = torch.Generator().manual_seed(0)
    shift = torch.tensor([0.0, -2.0, -3.5, -6.0])
    calibrated = 1.5 * torch.randn(200, 4, generator=generator) + shift
    labels = (torch.rand(calibrated.shape, generator=generator) < torch.sigmoid(calibrated)).to(torch.int8)
    labels[FEW - 1 :, 3] = 0
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = -1
    thresholds, temperature = choose_thresholds(3 * calibrated, labels)
    assert 2.0 < temperature < 4.0, "the logits are three times too large"
    probabilities = torch.sigmoid(3 * calibrated / temperature)
    known = labels >= 0

    def best(columns: list[int]) -> float:
        """The highest F1 of any threshold, by scikit-learn."""
        mask = known[:, columns]
        truth, scores = labels[:, columns][mask], probabilities[:, columns][mask]
        return max(f1_score(truth, scores >= cut) for cut in scores.unique())

    def reached(columns: list[int], threshold: float) -> float:
        mask = known[:, columns]
        return float(f1_score(labels[:, columns][mask], probabilities[:, columns][mask] >= threshold))

    positives = (labels == 1).sum(0)
    for column in range(3):
        assert positives[column] >= FEW
        assert reached([column], thresholds[column].item()) == pytest.approx(best([column]))
    assert positives[3] < FEW
    assert reached([0, 1, 2, 3], thresholds[3].item()) == pytest.approx(best([0, 1, 2, 3]))


def test_labels_that_are_always_or_never_present_or_not_annotated() -> None:
    logits = torch.linspace(-2, 2, 60).reshape(20, 3)
    labels = torch.tensor([1, 0, -1], dtype=torch.int8).repeat(20, 1)
    thresholds, temperature = choose_thresholds(logits, labels)
    assert thresholds.isfinite().all()
    assert temperature > 0
    assert thresholds[0] == 0.5, "every image is positive: there is nothing to choose by"
