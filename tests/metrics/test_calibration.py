"""The reliability curve, the expected calibration error, and the temperature."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss

from tagformer.metrics import fit_temperature, reliability


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_is_the_factor_by_which_the_logits_are_too_large(factor: float) -> None:
    generator = torch.Generator().manual_seed(0)
    calibrated = 2 * torch.randn(20_000, 4, generator=generator, dtype=torch.float64)
    labels = (torch.rand(calibrated.shape, generator=generator) < torch.sigmoid(calibrated)).to(torch.int8)
    assert fit_temperature(factor * calibrated, labels) == pytest.approx(factor, rel=0.03)


def test_no_other_temperature_has_a_lower_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(300, 3, generator=generator, dtype=torch.float64)
    noise = 6 * torch.randn(logits.shape, generator=generator)
    labels = (logits + noise > 0).to(torch.int8).masked_fill(noise > 9, -1)
    annotated = labels != -1

    def loss(temperature: float) -> float:
        return log_loss(labels[annotated].numpy(), torch.sigmoid(logits[annotated] / temperature).numpy())

    best = fit_temperature(logits, labels)
    assert loss(best) <= min(loss(best * step) for step in (0.9, 0.99, 1.01, 1.1)) + 1e-12
    assert fit_temperature(logits, torch.full_like(labels, -1)) == 1.0


@pytest.mark.parametrize(("labels", "bound"), [((0, 1), 0.05), ((1, 0), 20.0)])
def test_the_temperature_stays_within_its_bounds(labels: tuple[int, int], bound: float) -> None:
    """With all labels right, or all wrong, no finite temperature is best."""
    assert fit_temperature(torch.tensor([[-1.0], [1.0]]), torch.tensor(labels).unsqueeze(1)) == bound


def test_the_calibration_error_is_that_of_a_case_by_hand() -> None:
    probabilities = torch.tensor([[0.1, 0.1, 0.9, 0.9, 1.0]])
    labels = torch.tensor([[0, 1, 1, -1, 1]], dtype=torch.int8)
    curve = reliability(probabilities, labels, bins=2)
    assert curve.count.tolist() == [2, 2]
    assert curve.confidence.tolist() == pytest.approx([0.1, 0.95])
    assert curve.frequency.tolist() == [0.5, 1.0]
    assert curve.expected_calibration_error == pytest.approx((0.4 * 2 + 0.05 * 2) / 4)
    empty = reliability(probabilities[:, :2], labels[:, :2], bins=2)
    assert math.isnan(empty.frequency[1])
    assert empty.expected_calibration_error == pytest.approx(0.4)


def test_with_a_bin_for_each_value_the_error_bounds_the_brier_score() -> None:
    generator = torch.Generator().manual_seed(2)
    probabilities = torch.randint(0, 11, (2_000, 3), generator=generator) / 10
    labels = (torch.rand(probabilities.shape, generator=generator) < probabilities**2).to(torch.int8)
    curve = reliability(probabilities, labels, bins=11)
    # Brier score = spread within the bins + the mean squared distance of confidence and frequency.
    within = (curve.frequency * (1 - curve.frequency) * curve.count).sum() / curve.count.sum()
    squared = ((curve.confidence - curve.frequency) ** 2 * curve.count).sum() / curve.count.sum()
    brier = brier_score_loss(labels.flatten().numpy(), probabilities.flatten().numpy())
    assert (within + squared).item() == pytest.approx(brier, abs=1e-6)
