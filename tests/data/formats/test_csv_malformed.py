"""Malformed CSV files are rejected, with the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagformer.data.formats.csv import CsvFormat
from tagformer.errors import TagformerError
from tests.data_files.tables import write

FORMAT = CsvFormat()
load, splits = FORMAT.load, FORMAT.splits


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,cat", "a.jpg,1", "b.jpg,yes"], "line 3, column 'cat': 'yes': use 1, 0 or an empty cell"),
        (["path,cat", "a.jpg,2"], "line 2, column 'cat': '2'"),
        (["path,tags", "a.jpg,dog", "b.jpg,black,white"], "line 3: 3 cells where the header has 2"),
        (["path,tags", "a.jpg"], "line 2: 1 cells where the header has 2"),
        (["path,tags", ",dog"], "line 2: no image path"),
        (
            ["path,tags", "a.jpg,dog;cow", "b.jpg,dog", "a.jpg,cat"],
            r"line 4: image 'a\.jpg' is a duplicate of .*line 2",
        ),
        (["path,tags,split", "a.jpg,dog,evl"], "line 2: split 'evl': use train, val or test"),
        (["path,tags,split", "a.jpg,dog,"], "line 2: split '': use train, val or test"),
        (["name,tags", "a.jpg,dog"], "line 1: no column of image paths among name, tags"),
        (["path", "a.jpg"], "line 1: no labels"),
        (["path,cat,cat", "a.jpg,1,1"], "line 1: duplicate column 'cat'"),
        (["id,path,tags", "x,a.jpg,dog", " ,b.jpg,dog"], "line 3: no id"),
        (["id,path,tags", "x,a.jpg,dog", "x,b.jpg,dog"], r"line 3: id 'x' is a duplicate of .*my\.csv, line 2"),
        (["path,dog,", "a.jpg,1,1"], "line 2: '1' in column 3, which has no name in line 1"),
        (["path,tags"], "has no images"),
        (["path,tags", "a.jpg,"], "has no labels"),
        (["path,tags", 'a.jpg,"dog"s'], "line 2: not a valid CSV line"),
        ([], "is empty"),
    ],
)
def test_a_faulty_table_is_rejected_with_the_file_and_the_line(tmp_path: Path, lines: list[str], message: str) -> None:
    file = write(tmp_path / "my.csv", *lines)
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "phto"}, "line 1: no column 'phto' .did you mean 'photo'"),
        ({"path": "photo", "tags": "keyword"}, "line 1: no column 'keyword' .did you mean 'keywords'"),
        ({"path": "photo", "tags": "keywords", "id": "key"}, r"line 1: no column 'key'\.$"),
        (
            {"path": "photo", "tags": "keywords", "id": "phot"},
            r"line 1: no column 'phot' \(did you mean 'photo'\?\)\.$",
        ),
        ({"path": "photo", "tags": "keywords", "empty": "no"}, "empty=no: use unknown or absent"),
    ],
)
def test_an_option_that_does_not_fit_the_table_is_rejected(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    file = write(tmp_path / "my.csv", "photo,keywords", "a.jpg,dog")
    with pytest.raises(TagformerError, match=message):
        load(file, "all", options)


def test_damaged_utf8_is_rejected_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "my.csv"
    file.write_bytes("path,tags\na.jpg,Ärger;Öl\n".encode() + b"b.jpg,\xff\n")
    with pytest.raises(TagformerError, match=r"my\.csv, line 3: not valid UTF-8, unlike other lines"):
        load(file, "all", {})


def test_a_folder_without_tables_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "mine.csv", "path,tags", "a.jpg,dog")
    with pytest.raises(TagformerError, match=r"none of train\.csv, val\.csv, test\.csv: name the file itself"):
        splits(tmp_path, {})


def test_an_empty_split_of_a_folder_is_rejected_by_name(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "path,tags", "a.jpg,dog")
    write(tmp_path / "test.csv", "path,tags")
    with pytest.raises(TagformerError, match=r"test\.csv has no images"):
        load(tmp_path, "train", {})


def test_a_row_of_another_split_than_its_file_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "path,tags,split", "a.jpg,dog,train", "b.jpg,dog,val")
    with pytest.raises(TagformerError, match=r"train\.csv, line 3: split 'val' in a file of the split 'train'"):
        load(tmp_path, "train", {})
