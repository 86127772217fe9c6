from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tagformer.data.columns import BLOCK, Files, Origins, RowsBuilder, SparseRows, Strings, take

TEXTS = ["", "a/b.jpg", "schön; ñ", "雪.png", "x\udc80y"]  # the last: a file name that is not UTF-8


@st.composite
def matrices(draw: st.DrawFn) -> Tensor:
    rows, columns = draw(st.integers(0, 12)), draw(st.integers(1, 7))
    values = draw(st.lists(st.sampled_from([-1, 0, 1, 2]), min_size=rows * columns, max_size=rows * columns))
    return torch.tensor(values, dtype=torch.int8).view(rows, columns)


@given(matrices(), st.data())
def test_sparse_rows_are_the_matrix_they_were_made_from(dense: Tensor, data: st.DataObject) -> None:
    rows = SparseRows.from_dense(dense)
    assert rows.shape == dense.shape
    assert torch.equal(rows.dense(), dense)
    assert torch.equal(rows[1:5:2], dense[1:5:2])
    for value in (-1, 0, 1):
        assert torch.equal(rows.count(value), (dense == value).sum(0))
        assert torch.equal(rows.count_by_row(value), (dense == value).sum(1))
    present = (dense == 1).long()
    assert torch.equal(rows.present_together(), present.T @ present)
    assert torch.equal(SparseRows.concatenated([rows, rows]).dense(), torch.cat([dense, dense]))
    if len(dense):
        chosen = data.draw(st.lists(st.integers(0, len(dense) - 1), max_size=9))
        assert torch.equal(rows[chosen], dense[chosen])
        assert torch.equal(rows.take(chosen).dense(), dense[chosen])
        assert torch.equal(rows[chosen[0] if chosen else -1], dense[chosen[0] if chosen else -1])


def test_rows_are_built_one_at_a_time_and_their_columns_moved() -> None:
    builder = RowsBuilder()
    builder.add({0: 1, 2: 0}, -1)
    builder.add({}, 0)
    builder.add({1: -1, 0: 0}, 0)
    assert len(builder) == 3
    assert builder.build(4).dense().tolist() == [[1, -1, 0, -1], [0, 0, 0, 0], [0, -1, 0, 0]]
    assert builder.build(4, [3, 0, 1]).dense().tolist() == [[-1, 0, -1, 1], [0, 0, 0, 0], [-1, 0, 0, 0]]


def test_rows_are_only_those_there_are() -> None:
    rows = SparseRows.from_dense(torch.zeros(3, 2, dtype=torch.int8))
    for row in (3, -4):
        with pytest.raises(IndexError, match="of 3"):
            rows[row]


def test_many_rows_are_taken_in_blocks() -> None:
    dense = (torch.rand(BLOCK + 5, 3, generator=torch.Generator().manual_seed(0)) < 0.3).to(torch.int8)
    rows = SparseRows.from_dense(dense)
    assert [len(block) for block in rows.blocks()] == [BLOCK, 5]
    assert torch.equal(torch.cat(list(rows.blocks())), dense)


def test_texts_paths_and_origins_are_sequences() -> None:
    strings = Strings(TEXTS)
    assert list(strings) == TEXTS
    assert strings == TEXTS
    assert strings[-1] == TEXTS[-1]
    assert list(strings[1:4:2]) == [TEXTS[1], TEXTS[3]]
    assert list(take(strings, [3, 3, 0])) == [TEXTS[3], TEXTS[3], TEXTS[0]]
    assert list(take(TEXTS, [1])) == [TEXTS[1]]
    with pytest.raises(IndexError):
        strings[5]
    files = Files(Path("/data"), ["a.jpg", "sub/b.jpg", "/else/c.jpg"])
    assert list(files) == [Path("/data/a.jpg"), Path("/data/sub/b.jpg"), Path("/else/c.jpg")]
    assert list(files.take([2])) == [Path("/else/c.jpg")]
    origins = Origins([Path("train.csv"), Path("test.csv")], [0, 0, 1], [2, 3, 2])
    assert list(origins) == ["train.csv, line 2", "train.csv, line 3", "test.csv, line 2"]
    assert list(origins.take([2, 0])) == ["test.csv, line 2", "train.csv, line 2"]
    for column in (strings, files, origins):
        assert list(pickle.loads(pickle.dumps(column))) == list(column)


def test_a_million_short_texts_take_little_memory() -> None:
    strings = Strings(f"images/{number:07d}.jpg" for number in range(100_000))
    assert len(pickle.dumps(strings)) < 100_000 * (len("images/0000000.jpg") + 9)
