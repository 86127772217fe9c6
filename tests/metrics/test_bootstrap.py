from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import average_precision_score

from tagformer.metrics import average_precision, bootstrap_mAP, evaluate, interval


def case(images: int, labels: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randint(-1, 2, (images, labels), generator=generator, dtype=torch.int8)
    scores = (states + torch.randn(images, labels, generator=generator)).round(decimals=1)
    return scores, states


def test_each_resample_is_scored_as_the_images_that_were_drawn() -> None:
    scores, labels = case(25, 4, 0)
    labels[:, 2] = 0
    labels[3, 2] = 1  # a label that some resamples have no positive of
    result = bootstrap_mAP([scores, -scores], labels, resamples=40, seed=3)
    drawn = np.random.default_rng(3).integers(0, 25, (40, 25))
    for resample, rows in enumerate(drawn):
        for tagger, sign in enumerate((1, -1)):
            per_label = []
            for column in range(4):
                states = labels[rows, column].numpy()
                if (states == 1).any():
                    values = sign * scores[rows, column].numpy()
                    per_label.append(average_precision_score(states[states != -1], values[states != -1]))
            assert result[tagger, resample] == pytest.approx(np.mean(per_label), abs=1e-9)


def test_the_chunks_that_bound_the_memory_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = case(30, 3, 1)
    whole = bootstrap_mAP([scores], labels, resamples=20, seed=5)
    monkeypatch.setattr("tagformer.metrics.bootstrap.CHUNK", 100)
    assert np.array_equal(bootstrap_mAP([scores], labels, resamples=20, seed=5), whole)


def test_intervals_contain_the_true_figure_about_as_often_as_their_level() -> None:
    everything, labels = case(20_000, 1, 2)
    truth = evaluate(everything, labels).mAP
    covered = 0
    for start in range(0, 20_000, 200):
        part_scores, part_labels = everything[start : start + 200], labels[start : start + 200]
        resampled = bootstrap_mAP([part_scores], part_labels, resamples=200, seed=start)[0]
        estimate = interval(evaluate(part_scores, part_labels).mAP, resampled)
        assert estimate.low <= estimate.value <= estimate.high
        covered += estimate.low <= truth <= estimate.high
    assert 85 <= covered <= 100  # of 100


def test_the_interval_is_scipys_basic_one() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    result = stats.bootstrap((values,), np.mean, method="basic", n_resamples=500, rng=np.random.default_rng(1))
    ours = interval(float(values.mean()), result.bootstrap_distribution)
    assert (ours.low, ours.high) == pytest.approx(tuple(result.confidence_interval), rel=1e-9)


def test_the_interval_contains_the_figure_and_stays_within_its_bounds() -> None:
    assert interval(0.3, np.linspace(0.4, 0.5, 101)).high == 0.3  # every resample is higher
    assert interval(0.7, np.linspace(0.5, 0.6, 101)).low == 0.7
    bounded = interval(0.9, np.linspace(0.7, 1.0, 101), lowest=0.0, highest=1.0)
    assert (bounded.low, bounded.high) == (pytest.approx(0.8075), 1.0)


def test_intervals_of_rare_labels_contain_the_true_figure_more_often_than_percentiles() -> None:
    frequencies = np.geomspace(0.01, 0.3, 20)
    generator = np.random.default_rng(0)

    def drawn(images: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = (generator.random((images, 20)) < frequencies).astype(np.int8)
        return torch.from_numpy(1.5 * labels + generator.normal(size=labels.shape)), torch.from_numpy(labels)

    truths = average_precision(*drawn(50_000))
    basic, percentiles = 0, 0
    for trial in range(40):
        scores, labels = drawn(200)
        truth = truths[(labels == 1).any(0)].mean().item()
        resampled = bootstrap_mAP([scores], labels, resamples=200, seed=trial)[0]
        estimate = interval(evaluate(scores, labels).mAP, resampled, lowest=0.0, highest=1.0)
        basic += estimate.low <= truth <= estimate.high
        percentiles += np.quantile(resampled, 0.025) <= truth <= np.quantile(resampled, 0.975)
    assert basic >= 28  # of 40; 0.83 in a longer simulation
    assert percentiles <= 20  # 0.29


def test_the_same_tagger_twice_does_not_differ() -> None:
    scores, labels = case(50, 3, 4)
    first, second = bootstrap_mAP([scores, 2 * scores], labels, resamples=50)
    assert np.array_equal(first, second)
    assert np.std(first) > 0
