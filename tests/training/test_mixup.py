from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from tagformer.losses import binary_cross_entropy
from tagformer.training.mixup import agreed, mix


def test_mixup_is_the_weighted_sum_of_two_images() -> None:
    images = torch.randn(6, 3, 4, 4)
    before = images.clone()
    weights = []
    for seed in range(300):
        torch.manual_seed(seed)
        (mixed, halves), partner, weight = mix([images, images[:, :1] / 2], 0.4)
        torch.testing.assert_close(mixed, weight * images + (1 - weight) * images[partner])
        torch.testing.assert_close(halves, mixed[:, :1] / 2)
        assert sorted(partner.tolist()) == list(range(6))
        weights.append(weight)
    assert torch.equal(images, before)
    sample = torch.tensor(weights)
    assert sample.mean().item() == pytest.approx(0.5, abs=0.06)
    assert sample.var().item() == pytest.approx(0.25 / 1.8, abs=0.03)  # of Beta(a, a): 1 / (4 (2 a + 1))


def test_the_mixed_loss_is_that_of_mixed_labels() -> None:
    logits = torch.randn(4, 5, dtype=torch.float64)
    one, other = (torch.randint(0, 2, (4, 5), dtype=torch.int8) for _ in range(2))
    first, second = (binary_cross_entropy(logits, labels, reduction="mean") for labels in (one, other))
    soft = F.binary_cross_entropy_with_logits(logits, 0.3 * one.double() + 0.7 * other.double())
    torch.testing.assert_close((0.3 * first + 0.7 * second).double(), soft, rtol=1e-6, atol=1e-6)


def test_only_states_that_both_images_share_can_be_known() -> None:
    one = torch.tensor([[1, 1, 0, 0, -1, -1]], dtype=torch.int8)
    other = torch.tensor([[1, 0, 0, -1, -1, 1]], dtype=torch.int8)
    assert agreed(one, other).tolist() == [[1, -1, 0, -1, -1, -1]]
