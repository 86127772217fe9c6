"""The record type that all formats share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tagformer.data import Box, MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace


def dataset(exhaustive: bool = False) -> MultiLabelDataset:
    return MultiLabelDataset(
        name="mine",
        label_space=LabelSpace(("cat", "dog", "cow")),
        images=[Path("a.jpg"), Path("b.jpg"), Path("c.jpg")],
        labels=torch.tensor([[1, 0, -1], [0, 1, 1], [1, 1, 0]], dtype=torch.int8),
        ids=["a", "b", "c"],
        sizes=torch.tensor([[3, 0, 0], [0, 1, 2], [2, 1, 0]], dtype=torch.int8),
        boxes=[(), (Box("dog", (0, 0, 0.5, 1)),), ()],
        origins=["line 2", "line 3", "line 4"],
        exhaustive=exhaustive,
    )


# Records


def test_a_record_is_a_row_of_every_column() -> None:
    record = dataset()[1]
    assert (record.image, record.id) == (Path("b.jpg"), "b")
    assert record.labels.tolist() == [0, 1, 1]
    assert record.sizes is not None
    assert record.sizes.tolist() == [0, 1, 2]
    assert record.boxes == (Box("dog", (0, 0, 0.5, 1)),)
    assert dataset()[-1].id == "c"
    assert [record.id for record in dataset()] == ["a", "b", "c"]


def test_a_record_beyond_the_end_is_an_index_error() -> None:
    with pytest.raises(IndexError, match="record 3 of 3"):
        dataset()[3]


def test_a_subset_takes_every_column_in_the_given_order() -> None:
    part = dataset().subset([2, 0])
    assert list(part.ids) == ["c", "a"]
    assert part.images == [Path("c.jpg"), Path("a.jpg")]
    assert part.labels.tolist() == [[1, 1, 0], [1, 0, -1]]
    assert part.sizes is not None
    assert part.sizes.tolist() == [[2, 1, 0], [3, 0, 0]]
    assert part.origins == ["line 4", "line 2"]
    assert len(dataset().subset([])) == 0


def test_columns_that_do_not_fit_are_an_error() -> None:
    space = LabelSpace(("cat", "dog"))
    with pytest.raises(ValueError, match="must be int8"):
        MultiLabelDataset("x", space, [Path("a")], torch.zeros(1, 2), ["a"])
    with pytest.raises(ValueError, match=r"must be of shape \(1, 2\)"):
        MultiLabelDataset("x", space, [Path("a")], torch.zeros(1, 3, dtype=torch.int8), ["a"])
    with pytest.raises(ValueError, match="2 ids for 1 images"):
        MultiLabelDataset("x", space, [Path("a")], torch.zeros(1, 2, dtype=torch.int8), ["a", "b"])


# Another label space


def test_labels_are_aligned_by_name_and_never_by_position() -> None:
    aligned = dataset().align_to(LabelSpace(("cow", "cat", "dog")))
    assert aligned.label_space.names == ("cow", "cat", "dog")
    assert aligned.labels.tolist() == [[-1, 1, 0], [1, 0, 1], [0, 1, 1]]
    assert aligned.sizes is not None
    assert aligned.sizes.tolist() == [[0, 3, 0], [2, 0, 1], [0, 2, 1]]
    assert list(aligned.ids) == ["a", "b", "c"]


@pytest.mark.parametrize(("exhaustive", "missing"), [(True, 0), (False, -1)])
def test_a_label_that_the_data_lacks_is_absent_only_where_the_data_is_exhaustive(
    exhaustive: bool, missing: int
) -> None:
    aligned = dataset(exhaustive).align_to(LabelSpace(("dog", "zebra")))
    assert aligned.labels.tolist() == [[0, missing], [1, missing], [1, missing]]
    assert aligned.sizes is not None
    assert aligned.sizes.tolist() == [[0, 0], [1, 0], [1, 0]]


def test_aligning_to_its_own_label_space_changes_nothing() -> None:
    unchanged = dataset()
    assert unchanged.align_to(LabelSpace(("cat", "dog", "cow"))) is unchanged


def test_data_without_a_common_name_is_an_error() -> None:
    with pytest.raises(TagformerError, match=r"mine has none of the model's labels.*'cat'.*'zebra'"):
        dataset().align_to(LabelSpace(("zebra", "lion")))


def test_an_image_without_annotation_stays_unknown_in_new_columns() -> None:
    tags = MultiLabelDataset(
        "mine",
        LabelSpace(("a",)),
        [Path("x"), Path("y")],
        torch.tensor([[-1], [0]], dtype=torch.int8),
        ["x", "y"],
        exhaustive=True,
    )
    assert tags.align_to(LabelSpace(("a", "b"))).labels.tolist() == [[-1, -1], [0, 0]]


def test_warnings_travel_with_the_data_set() -> None:
    warned = dataset().replace(warnings=("a.jpg looks odd.",))
    assert dataset().warnings == ()
    for copy in (warned.subset([1]), warned.align_to(LabelSpace(("dog", "pig"))), warned.sample_evenly(2)):
        assert copy.warnings == ("a.jpg looks odd.",)
