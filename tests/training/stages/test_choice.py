"""The choice among candidates, against SciPy's standard error of paired differences."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from tagformer.recipes.settings import StageSettings
from tagformer.training.stages.choice import Trial, candidates, choose


@pytest.mark.parametrize("seed", range(6))
def test_the_best_is_chosen_if_it_is_more_than_a_standard_error_better(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    precisions = 0.5 + 0.1 * torch.rand(4, 10, generator=generator, dtype=torch.float64)
    best = int(precisions.mean(1).argmax())
    difference = (precisions[best] - precisions[0]).numpy()
    expected = best if difference.mean() > stats.sem(difference) else 0
    assert choose(precisions, torch.ones(10)) == expected
    with_others = torch.cat([precisions, torch.full((4, 2), torch.nan), torch.rand(4, 1)], dim=1)
    weights = torch.tensor([1.0] * 10 + [1.0, 1.0, 0.0])  # labels without a positive, and one that does not count
    assert choose(with_others, weights) == expected


def test_both_outcomes_by_hand() -> None:
    """Differences 0.2, 0.1, 0.3: mean 0.2, error 0.1 / sqrt(3). Differences 0.3, -0.2, 0: mean 0.033, error 0.145."""
    first = torch.tensor([0.5, 0.5, 0.5])
    assert choose(torch.stack([first, first - 0.1, first + torch.tensor([0.2, 0.1, 0.3])]), torch.ones(3)) == 2
    assert choose(torch.stack([first, first - 0.1, first + torch.tensor([0.3, -0.2, 0.0])]), torch.ones(3)) == 0


def test_a_label_with_few_positives_counts_little() -> None:
    """The first two labels are a little better with the first candidate, a rare one is much better with the other."""
    precisions = torch.tensor([[0.5, 0.5, 0.1], [0.45, 0.46, 0.9]])
    assert choose(precisions, torch.tensor([1.0, 1.0, 0.1])) == 0
    assert choose(precisions[:, :2].flip(0), torch.ones(2)) == 1


def test_one_label_says_nothing_of_the_error() -> None:
    assert choose(torch.tensor([[0.5], [0.9]]), torch.ones(1)) == 0


def test_the_first_candidate_is_the_mean_alone_with_the_least_decay() -> None:
    first = candidates(StageSettings())[0]
    assert (first.weight, first.decay) == (0.0, 0.05)


@pytest.mark.parametrize(("images", "heads"), [(100, 8), (600, 4), (2400, 1), (100_000, 1)])
def test_enough_images_are_scored(images: int, heads: int) -> None:
    """Each of the eight heads has not seen two eighths of the images."""
    assert Trial.of(StageSettings(), images).heads == heads
    assert heads in (1, 8) or heads * images * 2 / 8 >= 600


def test_one_candidate_needs_no_trial() -> None:
    settings = StageSettings(weights=(0.5,), decays=(0.05,))
    assert Trial.of(settings, images=100).cost(settings, images=100, labels=10) == 0
