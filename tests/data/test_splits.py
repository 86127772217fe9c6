"""Splits drawn by a hash of the ids."""

from __future__ import annotations

import pytest

from tagformer.data.splits import split_by_id
from tagformer.errors import TagformerError


def test_drawn_splits_depend_on_the_ids_alone() -> None:
    ids = [f"image-{i}" for i in range(1000)]
    shares = {"val": 0.1, "test": 0.2}
    parts = split_by_id(ids, shares)
    for name, size in (("val", 100), ("test", 200), ("train", 700)):
        assert len(parts[name]) == pytest.approx(size, abs=45)
    side = {ids[i]: name for name, part in parts.items() for i in part}
    assert len(side) == 1000
    fewer = ids[::-3]
    for name, part in split_by_id(fewer, shares).items():
        assert all(side[fewer[i]] == name for i in part), "an image stays where it is when others go"
    assert parts != split_by_id(ids, shares, seed=1)


def test_every_part_of_a_small_data_set_has_an_image() -> None:
    parts = split_by_id(["a", "b", "c"], {"val": 0.1, "test": 0.1})
    assert sorted(len(part) for part in parts.values()) == [1, 1, 1]
    with pytest.raises(TagformerError, match="2 images cannot be split into 3 parts"):
        split_by_id(["a", "b"], {"val": 0.1, "test": 0.1})
