from __future__ import annotations

from collections import Counter

import pytest
import torch

from tagformer.data import MultiLabelDataset
from tagformer.data.formats.scenes import Scene
from tagformer.data.loader.sampler import ClassAware, EpochBatches, derive_seed, rows_in_order
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace


def test_a_seed_has_63_bits_and_depends_on_every_part() -> None:
    seeds = {derive_seed(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62
    assert derive_seed(1, "order", 2) == derive_seed(1, "order", 2)
    assert derive_seed(1, 2) != derive_seed(2, 1)
    assert derive_seed(1, 23) != derive_seed(12, 3)


# The order


def epoch(batches: EpochBatches, number: int) -> list[list[tuple[int, int]]]:
    batches.set_epoch(number)
    return list(batches)


def test_an_epoch_is_every_image_once_in_full_batches() -> None:
    batches = EpochBatches(22, 5, seed=1)
    listed = epoch(batches, 3)
    assert len(listed) == len(batches) == 4
    assert {len(batch) for batch in listed} == {5}
    keys = [key for batch in listed for key in batch]
    assert {number for number, _ in keys} == {3}
    assert len({index for _, index in keys}) == 20
    assert {index for _, index in keys} <= set(range(22))


def test_the_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    first = epoch(EpochBatches(22, 5, seed=1), 0)
    torch.manual_seed(99)
    again = EpochBatches(22, 5, seed=1)
    epoch(again, 7)
    assert epoch(again, 0) == first
    assert [[i for _, i in batch] for batch in epoch(again, 1)] != [[i for _, i in batch] for batch in first]
    assert epoch(EpochBatches(22, 5, seed=2), 0) != first


def test_an_epoch_can_start_at_any_batch_and_the_next_is_whole_again() -> None:
    batches = EpochBatches(22, 5, seed=1)
    whole = epoch(batches, 2)
    batches.start = 3
    assert epoch(batches, 2) == whole[3:]
    assert epoch(batches, 2) == whole


def test_a_single_batch_may_be_incomplete() -> None:
    listed = epoch(EpochBatches(3, 8, seed=0), 0)
    assert [sorted(index for _, index in batch) for batch in listed] == [[0, 1, 2]]


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_every_batch_of_training(world_size: int) -> None:
    batches = [list(EpochBatches(25, 4, 7, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert {len(share) for share in batches} == {25 // (4 * world_size)}
    assert {len(batch) for share in batches for batch in share} == {4}
    visited = [index for share in batches for batch in share for _, index in batch]
    assert len(set(visited)) == len(visited)
    together = list(EpochBatches(25, 4 * world_size, 7))
    for number, batch in enumerate(together):
        assert {index for share in batches for _, index in share[number]} == {index for _, index in batch}


@pytest.mark.parametrize(("count", "world_size"), [(10, 3), (7, 2), (2, 3), (12, 4)])
def test_evaluation_visits_every_image_once_over_all_processes(count: int, world_size: int) -> None:
    parts = [rows_in_order(count, 2, rank, world_size) for rank in range(world_size)]
    assert sorted(index for part in parts for batch in part for index in batch) == list(range(count))
    assert all(1 <= len(batch) <= 2 for part in parts for batch in part)
    assert [list(batch) for batch in rows_in_order(5, 2)] == [[0, 1], [2, 3], [4]]


def rare(extra: tuple[str, ...] = ()) -> MultiLabelDataset:
    """100 images: the first 90 have "often", the next 8 "seldom", one has both "rare" and "seldom", one has nothing."""
    labels = torch.zeros(100, 3, dtype=torch.int8)
    labels[:90, 0] = 1
    labels[90:99, 1] = 1
    labels[98, 2] = 1
    scenes = [Scene.drawn((0, 0, number), 0) for number in range(100)]
    space = LabelSpace(("often", "seldom", "rare"), extra=extra)
    return MultiLabelDataset("rare", space, scenes, labels, [str(number) for number in range(100)])


def test_class_aware_sampling_visits_labels_equally_often() -> None:
    order = ClassAware(rare())
    drawn = Counter(order(torch.Generator().manual_seed(0)))
    assert sum(drawn.values()) == 100
    often = sum(drawn[index] for index in range(90))
    seldom = sum(drawn[index] for index in range(90, 98))
    assert 33 <= often <= 34
    assert max(drawn[index] for index in range(90)) == 1  # no image is visited again before all were
    assert {drawn[index] for index in range(90, 98)} <= {3, 4}  # a third of the draws, over nine images
    assert 33 <= drawn[98] <= 34 + 4
    assert often + seldom + drawn[98] == 100
    assert drawn[99] == 0


def test_class_aware_sampling_leaves_extra_labels_out_and_follows_its_generator() -> None:
    order = ClassAware(rare(extra=("rare",)))
    assert Counter(order(torch.Generator().manual_seed(0)))[98] <= 6
    first, again, other = (order(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    batches = list(EpochBatches(100, 10, 3, order))
    assert len(batches) == 10
    assert batches != list(EpochBatches(100, 10, 4, order))


def test_without_labels_there_is_nothing_to_sample_by() -> None:
    nothing = rare().replace(labels=torch.zeros(100, 3, dtype=torch.int8))
    with pytest.raises(TagformerError, match="no image has a label"):
        ClassAware(nothing)
