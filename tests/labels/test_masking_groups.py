"""Known labels by groups: groups of extra labels in evaluation, and in training."""

from __future__ import annotations

import itertools

import pytest
import torch

from tagformer.errors import TagformerError
from tagformer.labels import UNKNOWN, LabelSpace, draw_groups, extra_groups, extra_mask_training

SPACE = LabelSpace(
    ("robin", "crow", "red", "black", "big", "small", "loud"),
    groups={"class": ("robin", "crow"), "colour": ("black", "red"), "size": ("big", "small"), "noise": ("loud",)},
    extra=("red", "black", "big", "small", "loud"),
)


def test_groups_of_extra_labels_are_known_as_a_whole_and_nested() -> None:
    assert extra_groups(SPACE) == ["colour", "size", "noise"]
    labels = torch.randint(0, 2, (60, 7), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    labels[:, 4] = UNKNOWN  # not annotated
    ids = [f"bird-{number}" for number in range(60)]
    known_per_count = [draw_groups(labels, ids, SPACE, count) for count in range(4)]
    assert (known_per_count[0] == UNKNOWN).all()
    for fewer, more in itertools.pairwise(known_per_count):
        assert torch.equal(more[fewer != UNKNOWN], fewer[fewer != UNKNOWN])
    for count, known in enumerate(known_per_count):
        assert (known[:, :2] == UNKNOWN).all()  # targets are never known
        assert torch.equal(known[known != UNKNOWN], labels[known != UNKNOWN])
        groups = (known[:, [2, 5, 6]] != UNKNOWN).sum(1)  # one label of each group that is always annotated
        assert (groups == count).all()
        assert torch.equal(known[:, 2] == UNKNOWN, known[:, 3] == UNKNOWN)
    assert len({tuple((row != UNKNOWN).tolist()) for row in known_per_count[1]}) == 3  # another group for another image
    assert not torch.equal(known_per_count[1], draw_groups(labels, ids, SPACE, 1, seed=1))
    with pytest.raises(TagformerError, match="4 groups cannot be known: the data has 3 groups of extra labels"):
        draw_groups(labels, ids, SPACE, 4)


def test_extra_mask_training_draws_from_none_to_all_groups_of_extra_labels_and_no_target() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (4000, 7), dtype=torch.int8, generator=generator)
    labels[:, 4] = UNKNOWN
    known = extra_mask_training(labels, SPACE, generator)
    assert (known[:, :2] == UNKNOWN).all()
    assert torch.equal(known[known != UNKNOWN], labels[known != UNKNOWN])
    known_groups = (known[:, [2, 5, 6]] != UNKNOWN).sum(1)  # one label of each group
    assert torch.equal(known[:, 2] == UNKNOWN, known[:, 3] == UNKNOWN)
    for count in range(4):
        assert (known_groups == count).float().mean().item() == pytest.approx(1 / 4, abs=0.03)
    plain = LabelSpace(("a", "b", "c"), extra=("b", "c"))
    alone = extra_mask_training(labels[:, :3], plain, generator)
    assert (
        (alone[:, 1] == UNKNOWN) != (alone[:, 2] == UNKNOWN)
    ).any()  # without groups, each label is a group of its own
    with pytest.raises(TagformerError, match="the data has no extra labels"):
        extra_mask_training(labels[:, :2], LabelSpace(("a", "b")))


def test_extra_mask_training_may_draw_single_labels_as_c_tran_does_on_cub() -> None:
    generator = torch.Generator().manual_seed(0)
    space = LabelSpace(("a", "b", "c", "d", "e", "f"), {"shape": ("c", "d", "e", "f")}, extra=("c", "d", "e", "f"))
    known = extra_mask_training(
        torch.ones(4000, 6, dtype=torch.int8), space, generator, min_unknown=0.25, by_group=False
    )
    assert (known[:, :2] == UNKNOWN).all()
    counts = (known[:, 2:] != UNKNOWN).sum(1)
    for count in range(4):  # from none to three quarters of the four
        assert (counts == count).float().mean().item() == pytest.approx(1 / 4, abs=0.03)
