"""Names in another notation are read, or stop with the option that reads them: one rule for all tables and shards."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from tagformer.data import MultiLabelDataset, load_dataset
from tagformer.errors import TagformerError
from tests.data_files.parquet import write as write_parquet
from tests.stored_pictures import png

COMBINED = ["box{}cross", "disc", "disc{}box", "disc{}stripe{}cross", "box", "stripe", "disc{}cross", "cross"]
NAMES = ("box", "cross", "disc", "stripe")


def write_csv(folder: Path, cells: list[str]) -> str:
    with (folder / "my.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "tags"), *((f"{row}.jpg", cell) for row, cell in enumerate(cells))])
    return f"csv:{folder / 'my.csv'}"


def write_jsonl(folder: Path, cells: list[str]) -> str:
    lines = [json.dumps({"path": f"{row}.jpg", "tags": [cell]}) for row, cell in enumerate(cells)]
    (folder / "my.jsonl").write_text("\n".join(lines))
    return f"jsonl:{folder / 'my.jsonl'}"


def write_lists(folder: Path, cells: list[str]) -> str:
    paths = [f"{row}.jpg" for row in range(len(cells))]
    return f"parquet:{write_parquet(folder / 'my.parquet', path=paths, tags=[[cell] for cell in cells])}"


def write_texts(folder: Path, cells: list[str]) -> str:
    paths = [f"{row}.jpg" for row in range(len(cells))]
    return f"parquet:{write_parquet(folder / 'my.parquet', path=paths, tags=cells)}"


def write_shard(folder: Path, cells: list[str]) -> str:
    with tarfile.open(folder / "my.tar", "w") as tar:
        for row, cell in enumerate(cells):
            for name, content in ((f"{row}.png", png(row)), (f"{row}.json", json.dumps({"tags": [cell]}).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return f"shards:{folder / 'my.tar'}"


def write_hugging(folder: Path, cells: list[str]) -> str:
    features = datasets.Features(
        {"image": datasets.Image(), "objects": datasets.Sequence(datasets.Value("string"))},
    )
    images = [{"bytes": png(row), "path": None} for row in range(len(cells))]
    content = {"image": images, "objects": [[cell] for cell in cells]}
    datasets.Dataset.from_dict(content, features).save_to_disk(folder / "set")
    return f"huggingface:{folder / 'set'}"


WRITERS = [write_csv, write_jsonl, write_lists, write_texts, write_shard, write_hugging]
ANY_FORMAT = pytest.mark.parametrize("write", WRITERS)
Write = Callable[[Path, list[str]], str]


def load(spec: str) -> MultiLabelDataset:
    return load_dataset(spec, "all", on_bad_image="keep")


def present(dataset: MultiLabelDataset) -> list[list[str]]:
    return [dataset.label_space.names_of(row) for row in dataset.labels]


@ANY_FORMAT
@pytest.mark.parametrize(
    ("separator", "option"), [("|", r"\|"), (", ", "comma"), (" ", "space"), ("#", "%23"), ("\t", "space")]
)
def test_combined_names_stop_with_the_option_that_separates_them(
    tmp_path: Path, write: Write, separator: str, option: str
) -> None:
    cells = [cell.replace("{}", separator) for cell in COMBINED]
    spec = write(tmp_path, cells)
    with pytest.raises(TagformerError, match=rf"4 of 8 names .*\?separator={option}, or keep them whole") as caught:
        load(spec)
    assert "'box" in str(caught.value)
    dataset = load(f"{spec}?separator={option.replace(chr(92), '')}")
    assert dataset.label_space.names == NAMES
    assert present(dataset) == [sorted(cell.replace("{}", " ").split()) for cell in COMBINED]
    assert dataset.warnings == ()


@ANY_FORMAT
def test_combined_names_can_be_kept_whole(tmp_path: Path, write: Write) -> None:
    spec = write(tmp_path, [cell.replace("{}", "|") for cell in COMBINED])
    assert len(load(f"{spec}?separator=;").label_space) == len(COMBINED)


@ANY_FORMAT
@pytest.mark.parametrize("missing", ["nan", "None", "NULL", "N/A"])
def test_a_missing_value_is_not_a_label(tmp_path: Path, write: Write, missing: str) -> None:
    dataset = load(write(tmp_path, ["dog", missing, "cat", missing]))
    assert dataset.label_space.names == ("cat", "dog")
    assert dataset.labels.tolist() == [[0, 1], [-1, -1], [1, 0], [-1, -1]]
    assert any(f"'{missing}' (2) among the tags count as missing values" in warning for warning in dataset.warnings)
    assert any("2 of 4 images have no tags" in warning for warning in dataset.warnings)


@ANY_FORMAT
def test_numbers_are_not_names(tmp_path: Path, write: Write) -> None:
    spec = write(tmp_path, ["1.0", "0", "3"])
    with pytest.raises(TagformerError, match=r"3 of 3 names of labels are numbers, as '1\.0'.*labels\.json"):
        load(spec)
    sidecar = tmp_path / ("set" if "huggingface" in spec else "") / "labels.json"
    sidecar.write_text('{"names": ["0", "1.0", "3"]}')
    assert present(load(spec)) == [["1.0"], ["0"], ["3"]]


@ANY_FORMAT
@pytest.mark.parametrize(
    "names",
    [
        ["traffic light", "stop sign", "dog", "fire hydrant"],
        ["Paris, France", "Lyon, France", "Nice, France"],
        ["tench, Tinca tinca", "dog"],
        ["AP/PA", "C++", "R&D", "rock & roll"],
        ["red car", "blue car", "red bus", "blue bus"],
    ],
)
def test_names_of_several_words_are_labels(tmp_path: Path, write: Write, names: list[str]) -> None:
    assert load(write(tmp_path, names)).label_space.names == tuple(sorted(names))


@ANY_FORMAT
def test_a_few_names_whose_words_are_labels_give_a_warning(tmp_path: Path, write: Write) -> None:
    names = ["dog", "cat", "cow", "dog cat", "cow dog", "ant", "bee", "bat", "elk", "owl"]
    dataset = load(write(tmp_path, names))
    assert len(dataset.label_space) == len(names)
    (warning,) = dataset.warnings
    assert "2 of 10 names of labels contain spaces, as " in warning
    assert warning.endswith("?separator=space")


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (["a|b", "c"], ["|"]),
        (["box, cross", "disc, stripe"], ["comma"]),
        (["dog_cat", "cat_cow", "dog", "cat", "cow"], ["_"]),
        (["dog-cat", "cat-cow", "dog", "cat", "cow"], ["-"]),
        (["traffic_light", "stop-sign", "light", "C#", "Smith, John", "x", "y"], []),
    ],
)
def test_doubtful_names_give_a_warning(tmp_path: Path, names: list[str], options: list[str]) -> None:
    warnings = load(write_csv(tmp_path, names)).warnings
    assert [warning.rpartition("?separator=")[2] for warning in warnings] == options


def test_names_of_labels_json_are_not_doubted_and_parts_of_others_are_found(tmp_path: Path) -> None:
    spec = write_csv(tmp_path, ["a|b", "a", "b", "nan"])
    (tmp_path / "labels.json").write_text('{"names": ["a", "b", "a|b", "nan"]}')
    assert present(load(spec)) == [["a|b"], ["a"], ["b"], ["nan"]]
    assert load(spec).warnings == ()
    (tmp_path / "labels.json").write_text('{"names": ["a", "b"]}')
    with pytest.raises(TagformerError, match=r"line 2: label 'a\|b' is not in .*, but its parts are: .*\?separator=\|"):
        load(spec)


def test_most_cells_that_begin_like_a_list_stop(tmp_path: Path) -> None:
    with pytest.raises(
        TagformerError, match=r"2 of 3 names of labels begin like the text of a list, as '\{\"a\": 1\}'"
    ):
        load(write_csv(tmp_path, ['{"a": 1}', '{"a": 0}', "dog"]))


def test_a_label_that_seems_to_mean_no_label_is_named(tmp_path: Path) -> None:
    dataset = load(write_csv(tmp_path, ["disc;box", "No Finding", "No Finding", "box"]))
    (warning,) = dataset.warnings
    assert "label 'No Finding' is on 2 images and never together with another" in warning


def test_an_unknown_separator_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match="option separator=: give what is between two names"):
        load(write_csv(tmp_path, ["dog"]) + "?separator=")
