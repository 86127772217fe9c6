"""Heads of all folds and settings side by side, against one head at a time in plain PyTorch."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tagformer.models import CSRA, create_model
from tagformer.training.stages.folds import folds_seen, without_held_out
from tagformer.training.stages.heads import (
    Heads,
    HeadSetting,
    HeadTraining,
    channel_statistics,
    fit_heads,
    out_of_fold,
)
from tests.training.stages.features_in_memory import noise, random_labels, remembered, separable

SETTINGS = [HeadSetting(0.0, 0.05), HeadSetting(0.9, 0.05), HeadSetting(2.0, 5.0)]
SHORT = HeadTraining(epochs=1, batch_size=8, lr=1e-2, min_steps=25, seed=3)


def random_heads(settings: list[HeadSetting], count: int, channels: int = 5, labels: int = 4) -> Heads:
    """Heads of so many folds with random weights."""
    mean, deviation = noise(channels, seed=1), 0.5 + noise(channels, seed=2).abs()
    folds = torch.arange(2 * count) % count
    heads = Heads(settings, folds, folds_seen(count), mean, deviation, torch.zeros(labels))
    heads.weight = noise(*heads.weight.shape, seed=3)
    heads.bias = noise(*heads.bias.shape, seed=4)
    return heads


@pytest.mark.parametrize("settings", [SETTINGS, [HeadSetting(0.0, 0.0)], [HeadSetting(0.7, 0.0)]])
@torch.no_grad()
def test_logits_are_those_of_csra(settings: list[HeadSetting]) -> None:
    heads = random_heads(settings, count=5)
    last_map = 3 * noise(6, 5, 3, 4) + 1
    logits = heads.logits(last_map.half())
    assert logits.shape == (6, len(settings), 5, 4)
    for number, setting in enumerate(settings):
        for which in ([0], [3], [0, 2, 4], range(5)):
            count = len(which) if setting.weight else 1  # the mean over the positions is linear: the heads are merged
            model = create_model("csra", 4, "tiny", weight=setting.weight, ensemble=count)
            assert isinstance(model, CSRA)
            model.standardised = type(model.standardised)(5)  # type: ignore[call-arg]
            model.classifier_weight = torch.nn.Parameter(torch.zeros(count, 4, 5))
            missing = model.load_state_dict(heads.state(number, which), strict=False)
            assert not missing.unexpected_keys
            assert all(name.startswith("backbone.") for name in missing.missing_keys)
            expected = model.decode(model.encode_maps([last_map.half().float()])).logits
            torch.testing.assert_close(logits[:, number, list(which)].mean(1), expected, rtol=1e-4, atol=1e-4)


def one_head(
    maps: Tensor, labels: Tensor, seen: Tensor, views: int, setting: HeadSetting, training: HeadTraining
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a head that is trained alone, on the images that it sees of each batch.

    Args:
        maps: (V, N, C, h, w), standardised; all images could be read.
        labels: (N, L).
        seen: bool (N,).
    """
    known = (labels != -1) & seen.unsqueeze(1)
    present = (labels == 1) & known
    weight = torch.zeros(labels.shape[1], maps.shape[2], requires_grad=True)
    bias = torch.logit((present.sum(0) + 0.5) / (known.sum(0) + 1)).requires_grad_()
    groups = [{"params": [weight], "weight_decay": setting.decay}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, training.lr)
    steps = training.steps(len(labels))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.lr, total_steps=steps + 1, pct_start=0.1)
    generator = torch.Generator().manual_seed(training.seed)
    averages = [weight.detach().clone(), bias.detach().clone()]
    step = 0
    while step < steps:
        for batch in torch.randperm(len(labels), generator=generator).split(training.batch_size):
            if step == steps:
                break
            view = torch.randint(views, (len(batch),), generator=generator)
            losses = []
            for row, v in zip(batch.tolist(), view.tolist(), strict=True):
                positions = weight @ maps[v, row].flatten(1) + bias.unsqueeze(1)  # (L, P)
                logits = (positions.mean(1) + setting.weight * positions.amax(1)) / (1 + setting.weight)
                for label in known[row].nonzero().flatten().tolist():
                    losses.append(F.binary_cross_entropy_with_logits(logits[label], present[row, label].float()))
            optimizer.zero_grad()
            (torch.stack(losses).mean() if losses else 0 * (weight.sum() + bias.sum())).backward()
            optimizer.step()
            schedule.step()
            decay = min(0.99, (1 + step) / (10 + step))
            averages = [decay * a + (1 - decay) * p.detach() for a, p in zip(averages, (weight, bias), strict=True)]
            step += 1
    return averages[0], averages[1]


@pytest.mark.parametrize("count", [3, 6])
def test_many_settings_and_folds_side_by_side_are_each_trained_as_if_alone(count: int) -> None:
    maps = torch.stack([(2 * noise(20, 4, 2, 2, seed=view) + 1).half().float() for view in range(2)])
    labels, folds = random_labels(20, 3, unknown=0.2), torch.arange(20) % count
    features = remembered(*maps)
    heads = fit_heads(features, labels, folds, SETTINGS, SHORT)
    mean, deviation = channel_statistics(features, range(len(labels)))
    standardised = (maps - mean[:, None, None]) / deviation[:, None, None]
    for number, setting in enumerate(SETTINGS):
        for head, seen in enumerate(folds_seen(count)):
            weight, bias = one_head(standardised, labels, seen[folds], 2, setting, SHORT)
            torch.testing.assert_close(heads.weight[number, head], weight, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(heads.bias[number, head], bias, rtol=1e-3, atol=1e-4)


def test_one_setting_alone_without_the_maximum_is_the_same_head() -> None:
    """The mean over the positions is then taken before the weights."""
    features, labels = remembered(noise(24, 4, 2, 2)), random_labels(24, 3)
    folds = torch.arange(24) % 4
    both = fit_heads(features, labels, folds, SETTINGS, SHORT)
    alone = fit_heads(features, labels, folds, SETTINGS[:1], SHORT)
    torch.testing.assert_close(alone.weight[0], both.weight[0], rtol=1e-4, atol=1e-5)
    some = fit_heads(features, labels, folds, SETTINGS, SHORT, seen=folds_seen(4)[2:3])
    torch.testing.assert_close(some.weight[:, 0], both.weight[:, 2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decay", [0.05, 20.0])
def test_weight_decay_is_the_decoupled_one_of_adamw(decay: float) -> None:
    features, labels = remembered(noise(16, 4, 2, 2)), random_labels(16, 2)
    folds, steps = torch.arange(16) % 2, HeadTraining(epochs=1, batch_size=4, lr=1e-2, min_steps=40)
    heads = fit_heads(features, labels, folds, [HeadSetting(0.5, 0.0), HeadSetting(0.5, decay)], steps)
    lengths = heads.weight.square().sum((1, 2, 3)).sqrt()
    assert lengths[1] < lengths[0]
    mean, deviation = channel_statistics(features, range(len(labels)))
    standardised = ((features.maps(range(16))[0].float() - mean[:, None, None]) / deviation[:, None, None])[None]
    weight, bias = one_head(standardised, labels, folds == 1, 1, HeadSetting(0.5, decay), steps)
    torch.testing.assert_close(heads.weight[1, 0], weight, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(heads.bias[1, 0], bias, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("count", [3, 5])
def test_the_labels_of_unseen_folds_do_not_influence_a_head(count: int) -> None:
    features, labels, folds = remembered(noise(30, 4, 2, 2)), random_labels(30, 3), torch.arange(30) % count
    before = fit_heads(features, labels, folds, SETTINGS, SHORT)
    other = labels.clone()
    other[folds == 1] = 1
    after = fit_heads(features, other, folds, SETTINGS, SHORT)
    for head in range(count):
        is_equal = not before.seen[head, 1]
        assert torch.equal(after.weight[:, head], before.weight[:, head]) == is_equal
        assert torch.equal(after.bias[:, head], before.bias[:, head]) == is_equal


def test_images_of_no_fold_and_images_that_cannot_be_read_are_not_seen() -> None:
    maps, labels, folds = noise(30, 4, 2, 2), random_labels(30, 3), torch.arange(30) % 3
    folds[[4, 11]] = -1
    before = fit_heads(remembered(maps, bad=[2, 7]), labels, folds, SETTINGS, SHORT)
    other, changed = labels.clone(), maps.clone()
    other[[2, 7, 4, 11]] = 1
    changed[[4, 11]] = 100
    after = fit_heads(remembered(changed, bad=[2, 7]), other, folds, SETTINGS, SHORT)
    assert torch.equal(after.weight, before.weight)
    assert torch.equal(after.bias, before.bias)
    assert not before.sees(torch.tensor([4, 11])).any()


def test_unknown_labels_are_not_in_the_loss() -> None:
    maps, labels, folds = noise(24, 4, 2, 2), random_labels(24, 2, unknown=0.3), torch.arange(24) % 3
    labels[:, 1] = -1
    heads = fit_heads(remembered(maps), labels, folds, SETTINGS, SHORT)
    assert torch.equal(heads.weight[:, :, 1], torch.zeros_like(heads.weight[:, :, 1]))
    assert torch.equal(heads.bias[:, :, 1], torch.zeros(3, 3))  # the frequency of a label of which nothing is known
    assert heads.weight[:, :, 0].abs().min() > 0


def test_the_same_seed_gives_the_same_heads() -> None:
    features, labels, folds = remembered(noise(24, 4, 2, 2)), random_labels(24, 2), torch.arange(24) % 3
    state = torch.get_rng_state()
    one, two = (fit_heads(features, labels, folds, SETTINGS, SHORT) for _ in range(2))
    assert torch.equal(one.weight, two.weight)
    other = fit_heads(features, labels, folds, SETTINGS, HeadTraining(1, 8, 1e-2, 25, seed=4))
    assert not torch.equal(one.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), state)


@torch.no_grad()
def test_out_of_fold_logits_are_the_mean_over_exactly_the_heads_that_have_not_seen_the_image() -> None:
    heads = random_heads(SETTINGS, count=6)  # 12 images
    views = (noise(12, 5, 2, 2, seed=7), noise(12, 5, 2, 2, seed=8))
    features = remembered(*views, bad=[5])
    for view, maps in enumerate(views):
        of_all = heads.logits(maps)
        logits = out_of_fold(heads, features, view)
        assert logits.shape == (3, 12, 4)
        for row in range(12):
            fold = row % 6
            unseen = [fold, (fold - 1) % 6]  # a head has not seen the fold of its number and the next one
            expected = torch.zeros(3, 4) if row == 5 else (of_all[row, :, unseen[0]] + of_all[row, :, unseen[1]]) / 2
            torch.testing.assert_close(logits[:, row], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_images_that_no_head_has_seen_are_scored_by_all_and_images_that_all_have_seen_by_none() -> None:
    heads = random_heads(SETTINGS, count=3)
    heads.folds = torch.tensor([-1, 0, 1, 2, 0, 1])
    maps = noise(6, 5, 2, 2)
    torch.testing.assert_close(out_of_fold(heads, remembered(maps))[:, 0], heads.logits(maps)[0].mean(1))
    one = Heads(SETTINGS, torch.arange(6) % 3, folds_seen(3)[:1], heads.mean, heads.deviation, torch.ones(4))
    logits = out_of_fold(one, remembered(maps))
    assert torch.equal(logits.any(2).any(0), torch.tensor([True, False, False, True, False, False]))


def test_which_folds_a_head_sees() -> None:
    for count in (2, 3, 4):
        assert torch.equal(folds_seen(count), ~torch.eye(count, dtype=torch.bool))
    for count in (5, 8):
        seen = folds_seen(count)
        for head in range(count):
            assert set((~seen[head]).nonzero().flatten().tolist()) == {head, (head + 1) % count}
        assert ((~seen).sum(0) == 2).all()  # two heads have not seen an image


def test_four_heads_have_not_seen_the_held_out_fold() -> None:
    for count, more in ((4, 0), (5, 1), (6, 2), (8, 2), (16, 2)):
        for held_out in (0, 3):
            extra = without_held_out(count, held_out)
            assert extra.shape == (more, count)
            together = torch.cat([folds_seen(count), extra])
            assert (~together[:, held_out]).sum() == 2 + more or count == 4
            assert len({tuple(row) for row in together.tolist()}) == len(together), "all heads differ"
            assert ((~extra).sum(1) == 2).all()


def test_the_statistics_are_those_of_all_positions() -> None:
    maps = 3 * noise(10, 4, 2, 3) + 2
    mean, deviation = channel_statistics(remembered(maps, bad=[4]), [0, 1, 2, 3, 5, 6, 7, 8, 9])
    values = maps[[row for row in range(10) if row != 4]].half().double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean.double(), values.mean(1), rtol=1e-5, atol=1e-5)
    expected = (values - values.mean(1, keepdim=True)).square().mean(1).sqrt() + 1e-3
    torch.testing.assert_close(deviation.double(), expected, rtol=1e-5, atol=1e-5)


def scikit_mean_average_precision(logits: Tensor, labels: Tensor) -> float:
    """By scikit-learn, (N, L)."""
    return float(average_precision_score(labels.numpy(), logits.numpy(), average="macro"))


def test_separable_labels_are_learned_and_random_ones_are_not() -> None:
    maps, labels = separable(160)
    training = HeadTraining(epochs=1, lr=1e-2, min_steps=300)
    folds = torch.arange(160) % 5
    heads = fit_heads(remembered(maps), labels, folds, SETTINGS[:2], training)
    logits = out_of_fold(heads, remembered(maps))
    assert scikit_mean_average_precision(logits[1], labels) > 0.95
    chance = random_labels(160, 3, seed=9)
    heads = fit_heads(remembered(maps), chance, folds, SETTINGS[:2], training)
    for logits in out_of_fold(heads, remembered(maps)):
        assert abs(scikit_mean_average_precision(logits, chance) - 0.5) < 0.12


def test_the_number_of_steps_and_the_progress() -> None:
    assert HeadTraining(epochs=8, batch_size=32, min_steps=300).steps(4000) == 8 * 125
    assert HeadTraining(epochs=8, batch_size=32, min_steps=300).steps(4001) == 8 * 126
    assert HeadTraining(epochs=8, batch_size=32, min_steps=300).steps(70) == 300
    done: list[int] = []
    features, labels, folds = remembered(noise(9, 4, 2, 2)), random_labels(9, 2), torch.arange(9) % 3
    fit_heads(features, labels, folds, SETTINGS, SHORT, progress=done.append)
    assert done == list(range(1, 26))
