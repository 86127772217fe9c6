"""Known labels: drawn for each training batch, and for each image in evaluation."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagformer.errors import TagformerError
from tagformer.labels import (
    PRESENT,
    UNKNOWN,
    LabelSpace,
    draw_known,
    draw_order,
    label_mask_training,
    without_known,
)


def random_labels(images: int, labels: int, seed: int = 0) -> torch.Tensor:
    """int8 (images, labels) in {1, 0, -1}."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (images, labels), generator=generator).to(torch.int8)


# Label mask training


@settings(deadline=None)
@given(
    count=st.integers(1, 40),
    min_unknown=st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.75, 1.0)),
    seed=st.integers(0, 2**31),
)
def test_label_mask_training_hides_at_least_the_least_share(count: int, min_unknown: float, seed: int) -> None:
    labels = random_labels(16, count, seed).clamp(min=0)
    known = label_mask_training(labels, min_unknown, torch.Generator().manual_seed(seed))
    unknown = (known == UNKNOWN).sum(1)
    assert known.dtype == torch.int8
    assert (unknown >= math.ceil(Fraction(str(min_unknown)) * count)).all()
    assert torch.equal(known[known != UNKNOWN], labels[known != UNKNOWN])


def test_the_number_of_hidden_labels_is_uniform_from_a_quarter_to_all() -> None:
    labels = torch.ones(9000, 20, dtype=torch.int8)
    unknown = (label_mask_training(labels, 0.25, torch.Generator().manual_seed(0)) == UNKNOWN).sum(1)
    counts = torch.bincount(unknown, minlength=21)
    assert not counts[:5].any()
    expected = 9000 / 16  # 5, 6, ..., 20
    chi_square = ((counts[5:] - expected) ** 2 / expected).sum().item()
    assert chi_square < 37.7  # 15 degrees of freedom, p = 0.001


@pytest.mark.parametrize(("min_unknown", "count", "least"), [(0.25, 80, 20), (0.55, 20, 11), (0.07, 100, 7)])
def test_the_least_share_is_not_one_label_too_many(min_unknown: float, count: int, least: int) -> None:
    labels = torch.ones(5000, count, dtype=torch.int8)
    known = label_mask_training(labels, min_unknown, torch.Generator().manual_seed(0))
    assert (known == UNKNOWN).sum(1).min() == least


def test_every_label_is_hidden_equally_often() -> None:
    labels = torch.ones(8000, 12, dtype=torch.int8)
    share = (label_mask_training(labels, 0.25, torch.Generator().manual_seed(1)) == UNKNOWN).float().mean(0)
    assert share.sub(7.5 / 12).abs().max() < 0.025  # the mean of 3, ..., 12


def test_groups_are_hidden_or_known_as_a_whole() -> None:
    space = LabelSpace(("a", "b", "c", "d", "e"), groups={"first": ("b", "d"), "second": ("e", "a")})
    assert space.group_numbers.tolist() == [1, 0, 2, 0, 1]  # "c" has none, so it is one by itself
    labels = torch.ones(3000, 5, dtype=torch.int8)
    labels[:, 3] = 0
    generator = torch.Generator().manual_seed(0)
    known = label_mask_training(labels, 0.5, generator, groups=space.group_numbers)
    assert set(map(tuple, known[:, [1, 3]].tolist())) == {(1, 0), (-1, -1)}
    assert set(map(tuple, known[:, [0, 4]].tolist())) == {(1, 1), (-1, -1)}
    known_groups = torch.stack([known[:, column] != -1 for column in (1, 4, 2)]).sum(0)
    # At least ceil(.5 x 3) = 2 of the 3 groups stay unknown: 0 or 1 is known, with equal probability.
    assert set(known_groups.tolist()) == {0, 1}
    assert (known_groups == 1).float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_label_mask_training_keeps_unannotated_labels_unknown() -> None:
    labels = random_labels(50, 10)
    known = label_mask_training(labels, 0.0, torch.Generator().manual_seed(0))
    assert (known[labels == UNKNOWN] == UNKNOWN).all()


def test_label_mask_training_repeats_with_the_same_generator_and_leaves_the_labels_alone() -> None:
    labels = random_labels(8, 10)
    before = labels.clone()
    first, second = (label_mask_training(labels, 0.25, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, label_mask_training(labels, 0.25, torch.Generator().manual_seed(6)))
    assert torch.equal(labels, before)


def test_known_and_hidden_labels_make_up_the_annotations() -> None:
    labels = random_labels(20, 10)
    known = label_mask_training(labels, 0.25, torch.Generator().manual_seed(0))
    target = without_known(labels, known)
    assert not ((known != UNKNOWN) & (target != UNKNOWN)).any()
    assert torch.equal(torch.where(known != UNKNOWN, known, target), labels)


# Known labels at evaluation


def test_an_order_is_a_permutation_of_the_target_columns() -> None:
    space = LabelSpace(("a", "night", "b", "c"), extra=("night",))
    order = draw_order([f"image-{i}" for i in range(30)], space)
    assert order.shape == (30, 3)
    assert (order.sort(1).values == torch.tensor([0, 2, 3])).all()
    assert draw_order([], space).shape == (0, 3)


def test_an_image_draws_the_same_order_in_any_batch() -> None:
    space = LabelSpace.of(15)
    ids = [f"image-{i}" for i in range(20)]
    order = draw_order(ids, space, seed=3)
    backwards = draw_order(ids[::-1], space, seed=3)
    assert torch.equal(order, backwards.flip(0))
    assert torch.equal(draw_order(ids[7:8], space, seed=3)[0], order[7])


def test_other_images_and_other_seeds_draw_other_orders() -> None:
    space = LabelSpace.of(15)
    ids = [f"image-{i}" for i in range(20)]
    order = draw_order(ids, space)
    assert len({tuple(row) for row in order.tolist()}) == 20
    assert not (order == draw_order(ids, space, seed=1)).all(1).any()


def test_every_label_comes_at_every_place_equally_often() -> None:
    order = draw_order([str(i) for i in range(6000)], LabelSpace.of(6))
    table = torch.stack([torch.bincount(order[:, place], minlength=6) for place in range(6)]).double()
    chi_square = ((table - 1000) ** 2 / 1000).sum().item()
    assert chi_square < 52.6  # 25 degrees of freedom, p = 0.001


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(4, 30),
    shares=st.lists(st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.6, 0.75)), min_size=2, max_size=2),
    seed=st.integers(0, 1000),
)
def test_known_sets_are_nested_and_the_scored_quarter_is_fixed(count: int, shares: list[float], seed: int) -> None:
    space = LabelSpace.of(count)
    labels = random_labels(5, count, seed).clamp(min=0)
    order = draw_order([str(i) for i in range(5)], space, seed)
    less, more = sorted(shares)
    few, few_targets = draw_known(labels, order, less)
    many, many_targets = draw_known(labels, order, more)
    assert torch.equal(many[few != UNKNOWN], few[few != UNKNOWN])
    assert ((many != UNKNOWN).sum(1) >= (few != UNKNOWN).sum(1)).all()
    assert torch.equal(few_targets, many_targets)
    assert not ((many != UNKNOWN) & (many_targets != UNKNOWN)).any()
    assert torch.equal(many[many != UNKNOWN], labels[many != UNKNOWN])
    assert torch.equal(many_targets[many_targets != UNKNOWN], labels[many_targets != UNKNOWN])
    assert ((many_targets != UNKNOWN).sum(1) == count - 3 * count // 4).all()


@pytest.mark.parametrize("percent", [0, 7, 14, 25, 28, 29, 50, 56, 57, 58, 75])
def test_the_known_share_is_not_one_label_short_of_a_whole_per_cent(percent: int) -> None:
    labels = torch.ones(2, 100, dtype=torch.int8)
    known, _ = draw_known(labels, draw_order(["a", "b"], LabelSpace.of(100)), percent / 100)
    assert (known != UNKNOWN).sum(1).tolist() == [percent, percent]


def test_with_scored_unknown_every_label_that_is_not_known_is_scored() -> None:
    labels = random_labels(6, 8).clamp(min=0)
    order = draw_order([str(i) for i in range(6)], LabelSpace.of(8))
    for known_count, known_share in ((0, 0.0), (2, 0.25), (4, 0.5), (7, 0.9)):
        known, targets = draw_known(labels, order, known_share, scored="unknown")
        assert ((known != UNKNOWN).sum(1) == known_count).all()
        assert torch.equal(known == UNKNOWN, targets != UNKNOWN)


def test_extra_labels_are_neither_known_nor_scored_by_a_drawn_share() -> None:
    space = LabelSpace(("a", "night", "b", "c", "d"), extra=("night",))
    labels = torch.ones(10, 5, dtype=torch.int8)
    order = draw_order([str(i) for i in range(10)], space)
    for scored in ("fixed", "unknown"):
        known, targets = draw_known(labels, order, 0.5, scored)
        assert (known[:, 1] == UNKNOWN).all()
        assert (targets[:, 1] == UNKNOWN).all()
        assert ((known == PRESENT).sum(1) == 2).all()


def test_what_is_not_annotated_is_neither_known_nor_scored() -> None:
    labels = random_labels(40, 8)
    order = draw_order([str(i) for i in range(40)], LabelSpace.of(8))
    known, targets = draw_known(labels, order, 0.5, scored="unknown")
    assert (known[labels == UNKNOWN] == UNKNOWN).all()
    assert (targets[labels == UNKNOWN] == UNKNOWN).all()


@pytest.mark.parametrize(
    ("known_share", "scored"),
    [(0.76, "fixed"), (0.9, "fixed"), (1.0, "fixed"), (1.0, "unknown"), (-0.1, "fixed"), (-0.1, "unknown")],
)
def test_a_known_share_that_leaves_nothing_to_score_is_an_error(known_share: float, scored: str) -> None:
    labels = torch.zeros(2, 8, dtype=torch.int8)
    order = draw_order(["a", "b"], LabelSpace.of(8))
    kept = (
        "at most 75%, because the last quarter is kept"
        if scored == "fixed"
        else "a share below 100%, because some labels must be left"
    )
    with pytest.raises(TagformerError, match=f"% of the labels cannot be known: with scored={scored}, use {kept}"):
        draw_known(labels, order, known_share, scored)


def test_an_unknown_way_of_scoring_is_an_error() -> None:
    labels = torch.zeros(1, 4, dtype=torch.int8)
    with pytest.raises(ValueError, match="'fixed' or 'unknown'"):
        draw_known(labels, draw_order(["a"], LabelSpace.of(4)), 0.25, "some")
