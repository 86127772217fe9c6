"""CSV files: tags, columns of labels, ids, labels.json and splits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tagformer.data.formats._common.cells import join_tags, split_tags
from tagformer.data.formats.csv import CsvFormat
from tagformer.errors import TagformerError
from tagformer.labels import plain_name
from tests.data_files.tables import rows, write

FORMAT = CsvFormat()
load, splits = FORMAT.load, FORMAT.splits
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
AWKWARD_TEXT = st.text(st.sampled_from(";,=\\\"' \n|a"), max_size=8)
NAMES = st.lists(
    st.one_of(ANY_TEXT, AWKWARD_TEXT).map(str.strip).filter(bool),
    max_size=5,
    unique=True,
)


@settings(deadline=None, max_examples=300)
@given(names=NAMES)
def test_a_cell_of_tags_reads_back_as_it_was_written(names: list[str]) -> None:
    assert split_tags(join_tags(names)) == names


@settings(deadline=None, max_examples=50)
@given(tags=st.lists(NAMES, min_size=1, max_size=3).filter(any))
def test_a_table_of_tags_reads_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, tags: list) -> None:
    tags = [list(dict.fromkeys(name for text in names if (name := plain_name(text)))) for names in tags]
    labels = sorted({name for names in tags for name in names})
    assume(labels)
    file = tmp_path_factory.mktemp("table") / "table.csv"
    (file.parent / "labels.json").write_text(json.dumps({"names": labels}))
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "tags"])
        writer.writerows([f"{i}.jpg", join_tags(names)] for i, names in enumerate(tags))
    dataset = load(file, "all", {})
    assert list(dataset.label_space.names) == labels
    assert [dataset.label_space.names_of(row) for row in dataset.labels] == [sorted(names) for names in tags]


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("dog", ["dog"]),
        ("dog;cat", ["dog", "cat"]),
        (" dog ; cat ;", ["dog", "cat"]),
        (";", []),
        ("", []),
        ("black\\;white;cat", ["black;white", "cat"]),
        ("back\\\\;slash", ["back\\", "slash"]),
        ("a,b;c=d", ["a,b", "c=d"]),
    ],
)
def test_tags_are_separated_by_semicolons_and_escaped_with_a_backslash(cell: str, names: list[str]) -> None:
    assert split_tags(cell) == names


def test_no_tags_are_written_as_a_lone_separator() -> None:
    assert join_tags([]) == ";"


def test_a_column_of_tags_makes_labels_in_alphabetical_order(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "path,tags", "a.jpg,dog;cat", "b.jpg,zebra", "c.jpg,;")
    dataset = load(file, "all", {})
    assert dataset.label_space.names == ("cat", "dog", "zebra")
    assert rows(dataset) == {"a.jpg": [1, 1, 0], "b.jpg": [0, 0, 1], "c.jpg": [0, 0, 0]}
    assert dataset.images == [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    assert dataset.exhaustive


def test_an_empty_cell_of_tags_is_unknown_unless_the_option_makes_it_absent(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "path,tags", "a.jpg,dog;cat", "b.jpg,", "c.jpg,  ")
    assert rows(load(file, "all", {})) == {"a.jpg": [1, 1], "b.jpg": [-1, -1], "c.jpg": [-1, -1]}
    assert rows(load(file, "all", {"empty": "absent"})) == {"a.jpg": [1, 1], "b.jpg": [0, 0], "c.jpg": [0, 0]}


def test_one_column_per_label_keeps_the_columns_order_and_the_three_states(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "zebra,path,cat", "1,a.jpg,0", ",b.jpg,1.0", "-1,c.jpg,0.0", "-1.0,d.jpg, 1 ")
    dataset = load(file, "all", {})
    assert dataset.label_space.names == ("zebra", "cat")
    assert rows(dataset) == {"a.jpg": [1, 0], "b.jpg": [-1, 1], "c.jpg": [-1, 0], "d.jpg": [-1, 1]}
    assert not dataset.exhaustive


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "photo,keywords,owner", "a.jpg,dog,me")
    dataset = load(file, "all", {"path": "photo", "tags": "keywords"})
    assert rows(dataset) == {"a.jpg": [1]}
    for path, tags in (("image", "labels"), ("file", "tags"), ("filename", "tags")):
        assert rows(load(write(tmp_path / f"{path}.csv", f"{path},{tags}", "a.jpg,dog"), "all", {})) == {"a.jpg": [1]}


def test_paths_are_relative_to_the_table_or_to_a_named_folder(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "path,tags", "sub/a.jpg,dog", "/elsewhere/b.jpg,dog")
    assert load(file, "all", {}).images == [tmp_path / "sub" / "a.jpg", Path("/elsewhere/b.jpg")]
    assert load(file, "all", {"images": "/photos"}).images == [Path("/photos/sub/a.jpg"), Path("/elsewhere/b.jpg")]


def test_a_byte_order_mark_crlf_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "excel.csv"
    file.write_bytes("\ufeffpath,tags\r\na.jpg,Ärger;dog\r\n\r\nb.jpg,dog\r\n".encode())
    dataset = load(file, "all", {})
    assert dataset.label_space.names == ("dog", "Ärger")
    assert rows(dataset) == {"a.jpg": [1, 1], "b.jpg": [1, 0]}


def test_a_record_has_the_place_where_it_was_written(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "path,tags", "a.jpg,dog", "", "b.jpg,dog")
    origins = load(file, "all", {}).origins
    assert origins == [f"{file}, line 2", f"{file}, line 4"]


@pytest.mark.parametrize(
    ("header", "line", "ids", "labels"),
    [
        ("path,id,tags", "a.jpg, x1 ,dog", ["x1"], ("dog",)),
        ("id,split,path,tags", "x1,train,a.jpg,dog", ["x1"], ("dog",)),
        ("id,path,dog", "x1,a.jpg,1", ["x1"], ("dog",)),
        ("dog,id,path", "1,x1,a.jpg", ["x1"], ("dog",)),
        ("path,id,dog", "a.jpg,0,1", ["a.jpg"], ("id", "dog")),
        ("id,dog,path", "0,1,a.jpg", ["a.jpg"], ("id", "dog")),
        ("id,image,tags", "x1,a.jpg,dog", ["a.jpg"], ("dog",)),
        ("id,image,dog", "1,a.jpg,1", ["a.jpg"], ("id", "dog")),
    ],
)
def test_a_column_id_beside_path_gives_ids_and_is_a_label_elsewhere(
    tmp_path: Path, header: str, line: str, ids: list[str], labels: tuple[str, ...]
) -> None:
    dataset = load(write(tmp_path / "my.csv", header, line), "all", {})
    assert dataset.ids == ids
    assert dataset.label_space.names == labels
    assert dataset.images == [tmp_path / "a.jpg"]


def test_another_column_of_ids_can_be_named(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "image,dog,key", "a.jpg,1,x1", "a.jpg,0,x2")
    dataset = load(file, "all", {"id": "key"})
    assert rows(dataset) == {"x1": [1], "x2": [0]}
    assert dataset.label_space.names == ("dog",)


def test_labels_json_gives_names_order_groups_and_extra_labels(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "path,cat,dog", "a.jpg,1,0", "b.jpg,,1")
    content = {"names": ["dog", "wolf", "cat"], "groups": {"canids": ["dog", "wolf"]}, "extra": ["wolf"]}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    dataset = load(file, "all", {})
    assert dataset.label_space.to_dict() == content
    assert rows(dataset) == {"a.jpg": [0, -1, 1], "b.jpg": [1, -1, -1]}
    assert not dataset.exhaustive


def test_labels_json_holds_for_all_splits_and_fixes_whether_tags_are_exhaustive(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "path,tags", "a.jpg,dog")
    write(tmp_path / "test.csv", "path,tags", "b.jpg,", "c.jpg,;")
    (tmp_path / "labels.json").write_bytes(b'\xef\xbb\xbf{"names": ["dog", "cat"]}')
    train, test = load(tmp_path, "train", {}), load(tmp_path, "test", {})
    assert train.label_space.names == test.label_space.names == ("dog", "cat")
    assert rows(train) == {"a.jpg": [1, 0]}
    assert rows(test) == {"b.jpg": [-1, -1], "c.jpg": [0, 0]}
    assert train.exhaustive
    (tmp_path / "labels.json").write_text('{"names": ["dog", "cat"], "exhaustive": false}')
    assert not load(tmp_path, "train", {}).exhaustive


def test_a_label_that_labels_json_does_not_name_is_rejected_with_its_line(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "path,tags", "a.jpg,dog")
    write(tmp_path / "test.csv", "path,tags", "b.jpg,dog", "c.jpg,dgo")
    (tmp_path / "labels.json").write_text('{"names": ["dog"]}')
    with pytest.raises(
        TagformerError, match=r"test\.csv, line 3: label 'dgo' is not in .*labels\.json: .* \(did you mean 'dog'\?\)\.$"
    ):
        load(tmp_path, "train", {})


def test_a_split_column_divides_a_table_with_one_label_space(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "path,split,tags", "a.jpg,test,zebra", "b.jpg,train,cat", "c.jpg,train,dog")
    assert splits(file, {}) == ("train", "test")
    train, test = load(file, "train", {}), load(file, "test", {})
    assert rows(train) == {"b.jpg": [1, 0, 0], "c.jpg": [0, 1, 0]}
    assert rows(test) == {"a.jpg": [0, 0, 1]}
    assert train.label_space == test.label_space == load(file, "all", {}).label_space
    assert len(load(file, "all", {})) == 3


def test_a_split_column_is_not_a_label(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "path,cat,split", "a.jpg,1,train", "b.jpg,0,val")
    assert load(file, "all", {}).label_space.names == ("cat",)
    assert splits(file, {}) == ("train", "val")


def test_a_folder_of_tables_has_the_labels_of_all_its_splits(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "path,tags", "a.jpg,dog", "b.jpg,")
    write(tmp_path / "test.csv", "path,tags", "c.jpg,cat")
    assert splits(tmp_path, {}) == ("train", "test")
    train, test = load(tmp_path, "train", {}), load(tmp_path, "test", {})
    assert train.label_space.names == test.label_space.names == ("cat", "dog")
    assert rows(train) == {"a.jpg": [0, 1], "b.jpg": [-1, -1]}
    assert rows(test) == {"c.jpg": [1, 0]}
    assert test.images == [tmp_path / "c.jpg"]
    assert rows(load(tmp_path, "all", {})) == rows(train) | rows(test)


def test_a_label_column_that_one_split_lacks_is_unknown_there(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "path,cat,dog", "a.jpg,1,0")
    write(tmp_path / "test.csv", "path,dog,cow", "b.jpg,1,1")
    train, test = load(tmp_path, "train", {}), load(tmp_path, "test", {})
    assert train.label_space.names == ("cat", "dog", "cow")
    assert rows(train) == {"a.jpg": [1, 0, -1]}
    assert rows(test) == {"b.jpg": [-1, 1, 1]}


def test_a_table_without_splits_has_none(tmp_path: Path) -> None:
    assert splits(write(tmp_path / "my.csv", "path,tags", "a.jpg,dog"), {}) == ()


def test_an_image_in_two_splits_of_a_folder_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "path,tags", "a.jpg,dog", "b.jpg,cat")
    write(tmp_path / "test.csv", "path,tags", "b.jpg,cat")
    with pytest.raises(
        TagformerError, match=r"test\.csv, line 2: image 'b\.jpg' is a duplicate of .*train\.csv, line 3"
    ):
        load(tmp_path, "all", {})
