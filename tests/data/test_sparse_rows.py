from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tagformer.data.sparse_rows import BLOCK, RowsBuilder, SparseRows


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
