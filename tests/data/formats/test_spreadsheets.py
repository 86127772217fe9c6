"""CSV files as spreadsheets and pandas write them: delimiters, encodings, words for states, columns, long tables."""

from __future__ import annotations

import time
from pathlib import Path

import pandas
import pytest

from tagformer.data import load_dataset
from tagformer.data.formats.csv import CsvFormat
from tagformer.data.formats.csv.header import read_state
from tagformer.errors import TagformerError
from tests.data_files.tables import rows, write

load = CsvFormat().load
TABLE = ["path,Öl,box", "a.jpg,1,0", "b.jpg,,1", "c.jpg,0,0"]
STATES = {"a.jpg": [1, 0], "b.jpg": [-1, 1], "c.jpg": [0, 0]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_delimiter_and_encoding_is_read(tmp_path: Path, delimiter: str, encoding: str, end: str) -> None:
    file = tmp_path / "my.csv"
    file.write_bytes("".join(line.replace(",", delimiter) + end for line in TABLE).encode(encoding))
    dataset = load(file, "all", {})
    assert dataset.label_space.names == ("Öl", "box")
    assert rows(dataset) == STATES
    assert dataset.origins == [f"{file}, line {line}" for line in (2, 3, 4)]
    assert any("read as Windows-1252" in warning for warning in dataset.warnings) == (encoding == "cp1252")


def test_a_table_with_tabs_is_read_by_its_name(tmp_path: Path) -> None:
    write(tmp_path / "my.tsv", *(line.replace(",", "\t") for line in TABLE))
    assert rows(load_dataset(str(tmp_path / "my.tsv"), "all", on_bad_image="keep")) == STATES


def test_a_line_that_names_the_delimiter_is_passed_over(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "sep=;", *(line.replace(",", ";") for line in TABLE))
    dataset = load(file, "all", {})
    assert rows(dataset) == STATES
    assert dataset.origins is not None
    assert dataset.origins[0] == f"{file}, line 3"


def test_the_delimiter_is_not_mistaken_for_the_separator_of_tags(tmp_path: Path) -> None:
    comma = load(write(tmp_path / "my.csv", "path,tags;more", "a.jpg,dog;cat"), "all", {"tags": "tags;more"})
    semicolon = load(write(tmp_path / "my.csv", "path;tags", 'a.jpg;"dog;cat"'), "all", {})
    assert comma.label_space.names == semicolon.label_space.names == ("cat", "dog")
    with pytest.raises(TagformerError, match="line 2: 3 cells where the header has 2: quote ';' in names"):
        load(write(tmp_path / "my.csv", "path;tags", "a.jpg;dog;cat"), "all", {})


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "my.csv"
    file.write_bytes("path,tags\na.jpg,собака\n".encode("cp1251"))
    dataset = load(file, "all", {"encoding": "cp1251"})
    assert dataset.label_space.names == ("собака",)
    assert dataset.warnings == ()
    with pytest.raises(TagformerError, match="option encoding=utf-9: no such encoding"):
        load(file, "all", {"encoding": "utf-9"})
    with pytest.raises(TagformerError, match="option encoding=base64: no such encoding"):
        load(file, "all", {"encoding": "base64"})
    with pytest.raises(TagformerError, match=r"is not ascii text after line 0: .*\?encoding=NAME"):
        load(file, "all", {"encoding": "ascii"})


@pytest.mark.parametrize(
    ("cells", "state"),
    [
        (["1", "1.0", "1,0", "1,00", "TRUE", "True", "true", "WAHR", "VRAI", "VERDADERO", "+1", "1e0", "1."], 1),
        (["0", "0.0", "0,0", "FALSE", "False", "FALSCH", "FAUX", "FALSO", "-0.0", "0e00"], 0),
        (["", "-1", "-1.0", "-1,0", "nan", "NaN", "None", "NULL", "NA", "<NA>"], -1),
        (["2", "0.5", "0,1", "yes", "Female", "10", "1,1", "x", "1 0", "--1"], None),
    ],
)
def test_cells_of_a_column_are_states_in_many_spellings(cells: list[str], state: int | None) -> None:
    assert {cell: read_state(cell) for cell in cells} == dict.fromkeys(cells, state)


def test_spellings_of_states_may_be_mixed_in_a_table(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "path;dog;cat", "a.jpg;WAHR;0,0", "b.jpg;FALSE;nan", "c.jpg; TRUE ;1,0")
    assert rows(load(file, "all", {})) == {"a.jpg": [1, 0], "b.jpg": [0, -1], "c.jpg": [1, 1]}


@pytest.mark.parametrize("header", ["", "Unnamed: 0", "Unnamed: 0.1"])
def test_row_numbers_of_pandas_are_passed_over_and_counted(tmp_path: Path, header: str) -> None:
    file = write(tmp_path / "my.csv", f"{header},path,dog", "0,a.jpg,1", "1,b.jpg,0")
    dataset = load(file, "all", {})
    assert rows(dataset) == {"a.jpg": [1], "b.jpg": [0]}
    assert dataset.warnings == (f"{file}: 1 column without a name is passed over, as pandas writes row numbers",)


def test_a_table_that_pandas_wrote_is_read(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"path": ["a.jpg", "b.jpg"], "dog": [True, False], "cat": [1.0, None]})
    frame.to_csv(tmp_path / "my.csv")
    pandas.read_csv(tmp_path / "my.csv").to_csv(tmp_path / "twice.csv")
    for name in ("my.csv", "twice.csv"):
        assert rows(load(tmp_path / name, "all", {})) == {"a.jpg": [1, 1], "b.jpg": [0, -1]}
    lists = pandas.DataFrame({"path": ["a.jpg", "b.jpg", "c.jpg"], "tags": [["dog", "cat"], [], None]})
    lists.to_csv(tmp_path / "lists.csv")
    assert rows(load(tmp_path / "lists.csv", "all", {})) == {"a.jpg": [1, 1], "b.jpg": [0, 0], "c.jpg": [-1, -1]}


def test_empty_columns_without_a_name_at_the_end_do_not_matter(tmp_path: Path) -> None:
    assert rows(load(write(tmp_path / "my.csv", "path,dog,,", "a.jpg,1,,", "b.jpg,0, ,"), "all", {})) == {
        "a.jpg": [1],
        "b.jpg": [0],
    }


CHEXPERT = ["Path,Sex,Age,AP/PA,No Finding,disc", "a.jpg,Female,40,AP,1.0,", "b.jpg,Male,41,,,-1.0", "c.jpg,,0,PA,0,1"]


def test_columns_that_are_not_labels_stop_with_the_options_that_leave_them_out(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", *CHEXPERT)
    with pytest.raises(
        TagformerError,
        match=r"line 2, column 'Sex': 'Female': .*these 3 columns .*\?ignore=Sex,Age,AP/PA, .*\?labels=",
    ):
        load(file, "all", {})
    states = {"a.jpg": [1, -1], "b.jpg": [-1, -1], "c.jpg": [0, 1]}
    ignoring = load(file, "all", {"ignore": "Sex, Age,AP/PA"})
    assert rows(ignoring) == states
    assert ignoring.warnings == ()
    choosing = load(file, "all", {"labels": "disc,No Finding"})
    assert choosing.label_space.names == ("disc", "No Finding")
    assert rows(choosing) == {name: row[::-1] for name, row in states.items()}
    assert choosing.warnings == (f"{file}: 3 columns are not used: Sex, Age, AP/PA",)
    for option in ("labels", "ignore"):
        with pytest.raises(TagformerError, match=r"line 1: no column 'Sexx' \(did you mean 'Sex'\?\)"):
            load(file, "all", {option: "Sexx"})


def test_a_name_with_a_comma_is_quoted_in_the_option(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", 'path,"black, white",dog', "a.jpg,1,x")
    assert load(file, "all", {"labels": '"black, white"'}).label_space.names == ("black, white",)


def test_a_column_of_names_is_pointed_out(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"column 'label': 'dog': .*read it with \?tags=label"):
        load(write(tmp_path / "my.csv", "path,label", "a.jpg,dog"), "all", {})
    with pytest.raises(TagformerError, match=r"1 of 1 names .*numbers.*or leave \?tags= out"):
        load(write(tmp_path / "my.csv", "path,dog,cat", "a.jpg,1.0,1"), "all", {"tags": "dog"})


def test_columns_beside_tags_are_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "path,tags,owner,date", "a.jpg,dog,me,1")
    assert load(file, "all", {}).warnings == (f"{file}: 2 columns are not used: owner, date",)
    assert load(file, "all", {"ignore": "owner,date"}).warnings == ()


@pytest.mark.parametrize("column", ["file_name", "Path", "Image", "FILENAME"])
def test_usual_names_of_the_path_column_are_found_in_any_case(tmp_path: Path, column: str) -> None:
    assert rows(load(write(tmp_path / "my.csv", f"{column},tags", "a.jpg,dog"), "all", {})) == {"a.jpg": [1]}


def test_rows_with_one_label_each_are_merged_by_image(tmp_path: Path) -> None:
    file = write(tmp_path / "my.csv", "filename,label", "a.jpg,dog", "b.jpg,cat", "a.jpg,cat", "c.jpg,", "a.jpg,dog")
    dataset = load(file, "all", {"tags": "label"})
    assert rows(dataset) == {"a.jpg": [1, 1], "b.jpg": [1, 0], "c.jpg": [-1, -1]}
    assert dataset.images == [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    assert dataset.origins == [f"{file}, line {line}" for line in (2, 3, 5)]
    assert dataset.label_rows.count(1).tolist() == [2, 1]
    assert f"{file} has 5 rows for 3 images: the rows of an image are merged" in dataset.warnings


def test_merged_rows_keep_their_split(tmp_path: Path) -> None:
    lines = ["path,tags,split", "a.jpg,dog,test", "b.jpg,cat,train", "a.jpg,cat,test"]
    assert rows(load(write(tmp_path / "my.csv", *lines), "test", {})) == {"a.jpg": [1, 1]}
    with pytest.raises(TagformerError, match=r"line 5: image 'b\.jpg' is a duplicate of .*line 3"):
        load(write(tmp_path / "my.csv", *lines, "b.jpg,dog,test"), "all", {})


@pytest.mark.parametrize("columns", [10_000, 40_000])
def test_the_time_for_a_wide_table_grows_with_its_columns(tmp_path: Path, columns: int) -> None:
    header = ",".join(["path", *(f"label {number}" for number in range(columns))])
    file = write(tmp_path / "my.csv", header, *(f"{row}.jpg{',1' * columns}" for row in range(3)))
    start = time.process_time()
    assert load(file, "all", {}).label_rows.shape == (3, columns)
    assert time.process_time() - start < 3
