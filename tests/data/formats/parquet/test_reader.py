"""Columns, labels, ids and splits of Parquet files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from tagformer.data import MultiLabelDataset, load_dataset
from tagformer.data.formats.parquet import ParquetFormat
from tagformer.errors import BadImageError
from tagformer.images.reading import load_image
from tests.data_files.parquet import IMAGE, TEXTS, write, write_hugging
from tests.stored_pictures import assert_shows, png

FORMAT = ParquetFormat()
load, splits = FORMAT.load, FORMAT.splits


def states(dataset: MultiLabelDataset) -> dict[str, list[int]]:
    return dict(zip(dataset.ids, dataset.labels.tolist(), strict=True))


def test_a_file_of_hugging_face_has_class_names_and_images(tmp_path: Path) -> None:
    file = write_hugging(tmp_path / "my.parquet", [[0], [2, 1], None, [], [1], [0, 2], [2]])
    dataset = load(file, "all", {})
    assert dataset.label_space.names == ("dog", "cat", "ant")
    assert dataset.labels.dtype == torch.int8
    assert dataset.exhaustive
    expected = [[1, 0, 0], [0, 1, 1], [-1, -1, -1], [0, 0, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1]]
    assert states(dataset) == {f"my.parquet:{row}": own for row, own in enumerate(expected, start=1)}
    assert dataset.origins is not None
    assert dataset.origins[6] == f"{file}, row 7"
    assert str(dataset.images[6]) == f"{file}, row 7"
    assert_shows(dataset, range(7))


@pytest.mark.parametrize("folder", ["", "data"])
def test_a_folder_of_shards_is_one_data_set(tmp_path: Path, folder: str) -> None:
    for shard, labels in enumerate([[[0], [1]], [[2]]]):
        own = [2 * shard + row for row in range(len(labels))]
        write_hugging(tmp_path / folder / f"train-{shard:05d}-of-00002.parquet", labels, own)
    write_hugging(tmp_path / folder / "validation-00000-of-00001-0123abcd.parquet", [[1]], [7])
    assert splits(tmp_path, {}) == ("train", "val")
    train, val = load(tmp_path, "train", {}), load_dataset(f"parquet:{tmp_path}", "val")
    assert train.labels.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert val.labels.tolist() == [[0, 1, 0]]
    assert list(train.ids)[2] == "train-00001-of-00002.parquet:1"
    assert_shows(train.subset([2, 0, 1]), [2, 0, 1])
    assert_shows(val, [7])


def test_lists_of_names_give_all_three_states_and_images_are_paths(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    file = write(
        tmp_path / "my.parquet",
        dict.fromkeys(("tags", "present", "absent", "unknown"), TEXTS),
        path=[f"{number}.png" for number in range(5)],
        tags=[["dog", "cat"], [], None, ["zebra"], None],
        present=[None, None, None, None, ["dog"]],
        absent=[None, None, None, None, ["cat"]],
        unknown=[None, None, None, ["cat"], []],
    )
    dataset = load_dataset(str(file), "all")
    columns = [dataset.label_space.index(name) for name in ("cat", "dog", "zebra")]
    assert dataset.labels[:, columns].tolist() == [[1, 1, 0], [0, 0, 0], [-1, -1, -1], [-1, 0, 1], [0, 1, -1]]
    assert dataset.ids == [f"{number}.png" for number in range(5)]
    assert dataset.images == [tmp_path / f"{number}.png" for number in range(5)]
    assert_shows(dataset, range(5))


def test_one_column_per_label_has_1_0_or_null_of_any_type(tmp_path: Path) -> None:
    file = write(
        tmp_path / "my.parquet",
        {"dog": pa.int8(), "cow": pa.bool_()},
        path=["a.png", "b.png", "c.png"],
        dog=[1, 0, None],
        cat=[1.0, float("nan"), 0.0],
        cow=[True, None, False],
        **{"a.b": [-1, 0, 1]},
        __index_level_0__=[5, 6, 7],
    )
    dataset = load(file, "all", {})
    assert dataset.label_space.names == ("dog", "cat", "cow", "a.b")
    assert states(dataset) == {"a.png": [1, 1, 1, -1], "b.png": [0, -1, -1, 0], "c.png": [-1, 0, 0, 1]}
    assert not dataset.exhaustive


def test_bytes_may_be_in_a_column_alone_and_a_null_names_a_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(png(1))
    plain = write(tmp_path / "plain.parquet", photo=[png(0), png(1), png(2)], tags=[["dog"], [], []])
    assert_shows(load(plain, "all", {}), range(3))
    cells = [{"bytes": png(0), "path": "0.png"}, {"bytes": None, "path": "elsewhere/1.png"}]
    linked = write(tmp_path / "linked.parquet", {"image": IMAGE}, image=cells, tags=[["dog"], []])
    assert_shows(load(linked, "all", {}), range(2))
    moved = load(linked, "all", {"images": str(tmp_path / "nowhere")})
    with pytest.raises(BadImageError, match=r"linked\.parquet, row 2 is broken \(it names .*nowhere.*: No such file"):
        load_image(moved.images[1])


def test_ids_are_a_column_or_the_path_or_the_file_and_row(tmp_path: Path) -> None:
    types = {"id": pa.string(), "short": pa.int8()}
    columns: dict[str, list[Any]] = {"path": ["a.png", "b.png"], "tags": [["dog"], []], "short": [1, 2]}
    assert load(write(tmp_path / "1.parquet", types, **columns), "all", {}).ids == ["a.png", "b.png"]
    assert load(write(tmp_path / "2.parquet", types, id=["x", None], **columns), "all", {}).ids == ["x", "b.png"]
    numbered = write(tmp_path / "3.parquet", id=[10, 11], **columns)
    assert load(numbered, "all", {}).ids == ["10", "11"]
    assert load(numbered, "all", {"id": "path"}).ids == ["a.png", "b.png"]
    stored = write(tmp_path / "4.parquet", image=[png(0), png(1)], path=["a.png", ""], tags=[["dog"], []])
    assert load(stored, "all", {}).ids == ["a.png", "4.parquet:2"]


def test_columns_may_be_named_by_options(tmp_path: Path) -> None:
    file = write(
        tmp_path / "my.parquet",
        photo=["a.png"],
        scan=[png(1)],
        mask=[png(2)],
        words=[["dog", "cat"]],
        key=["first"],
    )
    options = {"path": "photo", "image": "scan", "tags": "words", "id": "key"}
    dataset = load(file, "all", options)
    assert states(dataset) == {"first": [1, 1]}
    assert_shows(dataset, [1])
    assert_shows(load(file, "all", {**options, "image": "mask"}), [2])


def test_paths_are_relative_to_the_file_or_a_named_folder(tmp_path: Path) -> None:
    file = write(tmp_path / "my.parquet", path=["a.png"], tags=[["dog"]])
    assert load(file, "all", {}).images == [tmp_path / "a.png"]
    assert load(file, "all", {"images": "/photos"}).images == [Path("/photos/a.png")]


def test_a_file_may_have_a_column_of_splits(tmp_path: Path) -> None:
    file = write(
        tmp_path / "my.parquet",
        path=["a.png", "b.png", "c.png"],
        split=["test", "train", "test"],
        tags=[["dog"], ["cat"], []],
    )
    assert splits(file, {}) == ("train", "test")
    assert states(load(file, "test", {})) == {"a.png": [0, 1], "c.png": [0, 0]}
    assert states(load(file, "train", {})) == {"b.png": [1, 0]}
    assert splits(write(tmp_path / "none.parquet", path=["a.png"], tags=[["dog"]]), {}) == ()
    assert splits(write(tmp_path / "test.parquet", path=["a.png"], tags=[["dog"]]), {}) == ("test",)


def test_a_null_split_is_that_of_the_files_name(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", path=["a.png", "b.png"], split=["train", None], tags=[["dog"], []])
    write(tmp_path / "val.parquet", {"split": pa.string()}, path=["c.png"], split=[None], tags=[["dog"]])
    assert splits(tmp_path, {}) == ("train", "val")
    assert load(tmp_path, "train", {}).ids == ["a.png", "b.png"]
    assert load(tmp_path, "val", {}).ids == ["c.png"]


def test_labels_json_takes_precedence_over_class_names_and_alphabet(tmp_path: Path) -> None:
    file = write_hugging(tmp_path / "my.parquet", [[0], [1]])
    content = {"names": ["cat", "wolf", "dog"], "groups": {"canids": ["wolf", "dog"]}, "extra": ["wolf"]}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    dataset = load(file, "all", {})
    assert dataset.label_space.to_dict() == content
    assert dataset.labels.tolist() == [[0, 0, 1], [1, 0, 0]]
