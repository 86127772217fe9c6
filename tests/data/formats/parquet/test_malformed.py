"""Malformed tables are rejected, with the file and the row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagformer.data.formats.parquet import ParquetFormat
from tagformer.errors import TagformerError
from tests.data_files.parquet import TEXTS, write, write_hugging

FORMAT = ParquetFormat()
load, splits = FORMAT.load, FORMAT.splits


OK: dict[str, Any] = {"path": ["a.png", "b.png"], "tags": [["dog"], ["cat"]]}


@pytest.mark.parametrize(
    ("columns", "types", "message"),
    [
        ({**OK, "tags": [["dog"], [None]]}, {}, "row 2: 'tags' must be a list of names"),
        ({**OK, "tags": [["dog"], [""]]}, {}, "row 2: 'tags' must be a list of names"),
        ({**OK, "absent": [None, ["cat"]]}, {}, "row 2: label 'cat' is in both 'tags' and 'absent'"),
        ({**OK, "path": ["a.png", None]}, {}, "row 2: no image path"),
        ({**OK, "path": ["a.png", "a.png"]}, {}, r"row 2: image 'a\.png' is a duplicate of .*my\.parquet, row 1"),
        ({**OK, "id": ["x", "x"]}, {}, r"row 2: id 'x' is a duplicate of .*my\.parquet, row 1"),
        ({**OK, "id": ["x", ""]}, {}, "row 2: id '': use text or a whole number"),
        ({**OK, "split": ["train", "evl"]}, {}, "row 2: split 'evl': use train, val or test"),
        ({**OK, "split": ["train", None]}, {}, "row 2: no split, but other rows have one"),
        ({"path": ["a.png", "b.png"], "dog": [1, 2]}, {}, "row 2, column 'dog': 2: use 1, 0 or null"),
        ({"path": ["a.png", "b.png"], "dog": [1, 0.5]}, {}, r"row 2, column 'dog': 0\.5: use 1, 0 or null"),
        ({"path": ["a.png"], "dog": [1], "photographer": ["me"]}, {}, "column 'photographer' is of type string"),
        ({"path": ["a.png"]}, {}, "has no labels: add a column 'tags'"),
        ({"photo": ["a.png"], "tags": [["dog"]]}, {}, "has no column of image paths or images among photo, tags"),
        ({"tags": [["dog"]], "a": [b"1"], "b": [b"2"]}, {}, r"has several columns of images, a, b: .*\?image=NAME"),
        ({"path": ["a.png"], "tags": [[0]]}, {}, "column 'tags' holds class indices, but the file's metadata has no"),
        ({"path": [], "tags": []}, {"path": pa.string(), "tags": TEXTS}, "has no images: it needs a row for each"),
        ({"path": ["a.png"], "tags": [[]]}, {"tags": TEXTS}, "has no labels: no image has a tag"),
        ({"path": ["a.png"], " ": [1]}, {}, "label 1 has an empty name"),
    ],
)
def test_a_faulty_table_is_rejected_with_the_file_and_the_row(
    tmp_path: Path, columns: dict[str, list[Any]], types: dict[str, pa.DataType], message: str
) -> None:
    file = write(tmp_path / "my.parquet", types, **columns)
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tags": "tag"}, "has no column 'tag' .did you mean 'tags'"),
        ({"path": "tags"}, "column 'tags' is of type .*: it must be text"),
        ({"image": "path"}, "column 'path' is of type string: it must be bytes"),
        ({"id": "tags"}, "column 'tags' is of type .*: it must be text or whole numbers"),
    ],
)
def test_an_option_that_does_not_fit_the_table_is_rejected(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    file = write(tmp_path / "my.parquet", **OK)
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", options)
    assert str(file) in str(caught.value)


def test_a_class_index_without_a_name_is_rejected_with_its_row(tmp_path: Path) -> None:
    file = write_hugging(tmp_path / "my.parquet", [[0], [1]])
    table = pq.read_table(file)
    spoilt = table.set_column(2, table.schema.field("labels"), pa.array([[0], [3]], pa.list_(pa.int64())))
    pq.write_table(spoilt, file)
    with pytest.raises(TagformerError, match=r"my\.parquet, row 2: class index 3: there are 3 names, from 0 on"):
        load(file, "all", {})


def cut(size: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:size]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut(0), "is not a whole Parquet file"),
        (cut(30), "is not a whole Parquet file"),
        (cut(-8), "is not a whole Parquet file"),
        (lambda content: b"path,tags\na.png,dog\n", "is not a whole Parquet file"),
        (lambda content: content.replace(b"b.png", b"\xff.png"), "cannot read .* after row 0"),
        (lambda content: content[:4] + b"\xff" * 60 + content[64:], "cannot read .* after row 0"),
    ],
)
def test_a_damaged_file_is_rejected_by_name(tmp_path: Path, spoil: Callable[[bytes], bytes], message: str) -> None:
    file = tmp_path / "my.parquet"
    pq.write_table(pa.table(OK), file, compression="none", use_dictionary=False)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(file) in str(caught.value)


def test_a_folder_with_part_of_its_shards_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "train-00001-of-00002.parquet", **OK)
    with pytest.raises(
        TagformerError, match=r"has 1 of the 2 files of 'train' that train-00001-of-00002\.parquet belongs to"
    ):
        splits(tmp_path, {})


def test_shards_with_other_class_names_are_rejected(tmp_path: Path) -> None:
    write_hugging(tmp_path / "train.parquet", [[0]])
    write_hugging(tmp_path / "test.parquet", [[0]], [1], names=("cat", "dog", "ant"))
    with pytest.raises(
        TagformerError, match=r"test\.parquet and .*train\.parquet have different columns or class names"
    ):
        load(tmp_path, "train", {})


def test_a_row_of_another_split_than_its_file_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", **OK, split=["train", "val"])
    with pytest.raises(TagformerError, match=r"train\.parquet, row 2: split 'val' in a file of the split 'train'"):
        load(tmp_path, "train", {})


def test_a_folder_without_split_files_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "mine.parquet", **OK)
    with pytest.raises(TagformerError, match=r"has no train\.parquet, val\.parquet"):
        splits(tmp_path, {})
