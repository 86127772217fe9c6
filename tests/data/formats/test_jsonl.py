from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagformer.data import MultiLabelDataset, load_dataset
from tagformer.data.formats._common.annotation import read_annotation, write_annotation
from tagformer.data.formats.jsonl import JsonlFormat
from tagformer.errors import TagformerError
from tests.stored_pictures import assert_shows, png

FORMAT = JsonlFormat()
load, splits = FORMAT.load, FORMAT.splits

LINES: list[dict[str, Any]] = [
    {"path": "a.png", "tags": ["dog", "cat"]},
    {"path": "b.png", "tags": []},
    {"path": "c.png", "tags": None},
    {"path": "d.png", "tags": ["zebra"], "unknown": ["cat"]},
    {"path": "e.png", "present": ["dog"], "absent": ["cat"]},
    {"path": "f.png", "labels": {"dog": 1, "cat": 0, "zebra": None}},
    {"path": "g.png"},
]
STATES = {  # cat, dog, zebra
    "a.png": [1, 1, 0],
    "b.png": [0, 0, 0],
    "c.png": [-1, -1, -1],
    "d.png": [-1, 0, 1],
    "e.png": [0, 1, -1],
    "f.png": [0, 1, -1],
    "g.png": [-1, -1, -1],
}


def write(file: Path, *lines: Any) -> Path:
    """A line for each: an object, or a line as it is."""
    texts = [line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode() for line in lines]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(text + b"\n" for text in texts))
    return file


def states(dataset: MultiLabelDataset, *names: str) -> dict[str, list[int]]:
    """Id -> the states of the labels of these names, or of all."""
    columns = [dataset.label_space.index(name) for name in names or dataset.label_space.names]
    return dict(zip(dataset.ids, dataset.labels[:, columns].tolist(), strict=True))


# The content of a line


def test_a_line_has_each_of_the_three_states_in_several_ways(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "my.jsonl", *LINES), "all", {})
    assert dataset.labels.dtype == torch.int8
    assert states(dataset, "cat", "dog", "zebra") == STATES
    assert not dataset.exhaustive


def test_lists_of_tags_alone_are_exhaustive_and_their_labels_alphabetical(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "my.jsonl", {"path": "z.png", "labels": ["zebra"]}, *LINES[:3]), "all", {})
    assert dataset.label_space.names == ("cat", "dog", "zebra")
    assert states(dataset)["z.png"] == [0, 0, 1]
    assert dataset.exhaustive


def test_other_labels_are_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    first, second = {"path": "a.png", "labels": {"zebra": 0, "dog": True}}, {"path": "b.png", "absent": ["ant"]}
    dataset = load(write(tmp_path / "my.jsonl", first, second), "all", {})
    assert dataset.label_space.names == ("zebra", "dog", "ant")
    assert states(dataset) == {"a.png": [0, 1, -1], "b.png": [-1, -1, 0]}


@settings(deadline=None, max_examples=200)
@given(labels=st.lists(st.sampled_from([1, 0, -1]), min_size=1, max_size=6))
def test_an_annotation_reads_back_as_it_was_written(labels: list[int]) -> None:
    names = [f"label {number}" for number in range(len(labels))]
    cells, rest, _ = read_annotation(write_annotation(torch.tensor(labels, dtype=torch.int8), names), "here")
    assert [cells.get(name, rest) for name in names] == labels


@pytest.mark.parametrize("key", ["path", "image", "file", "filename"])
def test_the_path_has_one_of_four_keys(tmp_path: Path, key: str) -> None:
    file = write(tmp_path / "my.jsonl", {key: "sub/a.png", "tags": ["dog"]})
    assert load(file, "all", {}).images == [tmp_path / "sub" / "a.png"]
    assert load(file, "all", {"images": "/photos"}).images == [Path("/photos/sub/a.png")]


def test_ids_are_the_paths_or_text_and_whole_numbers(tmp_path: Path) -> None:
    extra = [{"path": "h.png", "id": 7, "tags": ["dog"]}, {"path": "h.png", "id": "seven", "tags": []}]
    assert load(write(tmp_path / "my.jsonl", LINES[0], *extra), "all", {}).ids == ["a.png", "7", "seven"]


def test_a_byte_order_mark_crlf_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "my.jsonl"
    file.write_bytes('\ufeff{"path": "Ä.png", "tags": ["Bär"]}\r\n\r\n{"path": "b.png", "tags": []}'.encode())
    dataset = load(file, "all", {})
    assert states(dataset) == {"Ä.png": [1], "b.png": [0]}
    assert dataset.origins == [f"{file}, line 1", f"{file}, line 3"]


# Splits, images, labels.json


def test_a_file_may_name_the_split_of_each_image(tmp_path: Path) -> None:
    own = ["test", "train", "train"]
    file = write(tmp_path / "my.jsonl", *({**line, "split": split} for line, split in zip(LINES, own, strict=False)))
    assert splits(file, {}) == ("train", "test")
    assert states(load(file, "train", {})) == {"b.png": [0, 0], "c.png": [-1, -1]}
    assert states(load(file, "test", {})) == {"a.png": [1, 1]}
    assert len(load(file, "all", {})) == 3
    assert splits(write(tmp_path / "none.jsonl", *LINES), {}) == ()


def test_a_folder_has_a_file_a_split_and_labels_of_all(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", LINES[0])
    write(tmp_path / "val.jsonl", LINES[3])
    write(tmp_path / "test.jsonl", LINES[2], {**LINES[1], "split": "test"})
    assert splits(tmp_path, {}) == ("train", "val", "test")
    train, test = load(tmp_path, "train", {}), load(tmp_path, "test", {})
    assert train.label_space.names == test.label_space.names == ("cat", "dog", "zebra")
    assert states(train) == {"a.png": [1, 1, 0]}
    assert states(test) == {"c.png": [-1, -1, -1], "b.png": [0, 0, 0]}
    assert test.origins == [f"{tmp_path / 'test.jsonl'}, line 1", f"{tmp_path / 'test.jsonl'}, line 2"]


def test_images_come_out_pixel_by_pixel_also_in_loader_processes(tmp_path: Path) -> None:
    for number, line in enumerate(LINES[:5]):
        (tmp_path / line["path"]).write_bytes(png(number))
    file = write(tmp_path / "my.jsonl", *LINES[:5])
    assert_shows(load_dataset(str(file), "all"), range(5))
    assert_shows(load(file, "all", {}).subset([4, 1, 2]), [4, 1, 2])


def test_labels_json_gives_names_order_groups_and_extra_labels(tmp_path: Path) -> None:
    file = write(tmp_path / "my.jsonl", LINES[0])
    content = {"names": ["dog", "ant", "cat"], "groups": {"pets": ["cat", "dog"]}, "extra": ["ant"]}
    write(tmp_path / "labels.json", content)
    dataset = load(file, "all", {})
    assert dataset.label_space.to_dict() == content
    assert states(dataset) == {"a.png": [1, 0, 1]}
    assert dataset.exhaustive
    write(tmp_path / "labels.json", {**content, "exhaustive": False})
    assert not load(file, "all", {}).exhaustive


# Malformed


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"path": "a.png", "tags": ["dog"]', "not valid JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'"dog"', "not a JSON object"),
        ('{"path": "ä.png"}'.encode("latin-1"), "not UTF-8 text"),
        (b'{"path": "a.png", "tags": ["\\ud83d"]}', "not UTF-8 text"),
        (b'{"path": "a.png", "tags": ["\xed\xa0\xbd"]}', "not UTF-8 text"),
        (b'{"path": "a.png", "id": ' + b"1" * 5000 + b"}", r"not valid JSON \(Exceeds the limit"),
        (b"[" * 100_000, r"not valid JSON \(maximum recursion depth"),
        ({"tags": ["dog"]}, "no image path"),
        ({"path": 3, "tags": ["dog"]}, "no image path"),
        ({"path": "", "tags": ["dog"]}, "no image path"),
        ({"path": "a.png", "tags": "dog"}, "'tags' must be a list of names"),
        ({"path": "a.png", "tags": ["dog", 3]}, "'tags' must be a list of names"),
        ({"path": "a.png", "absent": ["dog", " "]}, "'absent' must be a list of names"),
        ({"path": "a.png", "labels": ["dog", 3]}, "'labels' must be a list of names"),
        ({"path": "a.png", "labels": "dog"}, "'labels' must give each label a state"),
        ({"path": "a.png", "labels": {"dog": "yes"}}, "label 'dog' has the state 'yes': use 1, 0 or null"),
        ({"path": "a.png", "labels": {"dog": [1]}}, r"label 'dog' has the state \[1\]"),
        (b'{"path": "a.png", "labels": {"dog": NaN}}', "label 'dog' has the state nan"),
        ({"path": "a.png", "labels": {"": 1}}, "label '' has the state 1"),
        ({"path": "a.png", "tags": ["dog"], "labels": {"dog": 1}}, "both 'tags' and 'labels'"),
        ({"path": "a.png", "labels": {"dog": 1}, "absent": ["cat"]}, "both 'absent' and states in 'labels'"),
        ({"path": "a.png", "tags": ["dog"], "absent": ["dog"]}, "'dog' is in both 'tags' and 'absent'"),
        ({"path": "a.png", "present": ["dog"], "unknown": ["dog"]}, "'dog' is in both 'present' and 'unknown'"),
        ({"path": "a.png", "tags": [], "split": "evl"}, "split 'evl': use train, val or test"),
        ({"path": "a.png", "tags": [], "split": 1}, "split 1: use train, val or test"),
        ({"path": "a.png", "tags": [], "split": "train"}, "no split, but other rows have one"),
        ({"path": "a.png", "tags": [], "id": ""}, "id '': use text or a whole number"),
        ({"path": "a.png", "tags": [], "id": True}, "id True: use text or a whole number"),
        ({"path": "a.png", "tags": [], "id": "first.png"}, r"id 'first\.png' is a duplicate of .*my\.jsonl, line 1"),
        ({"path": "first.png", "tags": []}, r"image 'first\.png' is a duplicate of .*my\.jsonl, line 1"),
    ],
)
def test_a_faulty_line_is_rejected_with_the_file_and_the_line(tmp_path: Path, line: Any, message: str) -> None:
    file = write(tmp_path / "my.jsonl", {"path": "first.png", "tags": ["dog"]}, line)
    where = 1 if "but other rows have one" in message else 2
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(caught.value).startswith(f"{file}, line {where}: ")


@pytest.mark.parametrize(
    ("lines", "message"),
    [([], "has no images: it needs a line for each"), ([{"path": "a.png", "tags": []}], "has no labels")],
)
def test_a_file_without_images_or_labels_is_rejected_by_name(tmp_path: Path, lines: list[Any], message: str) -> None:
    file = write(tmp_path / "my.jsonl", *lines)
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(file) in str(caught.value)


def test_a_row_of_another_split_than_its_file_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", LINES[0], {**LINES[1], "split": "val"})
    with pytest.raises(TagformerError, match=r"train\.jsonl, line 2: split 'val' in a file of the split 'train'"):
        load(tmp_path, "train", {})


def test_a_folder_without_split_files_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "mine.jsonl", *LINES)
    with pytest.raises(TagformerError, match=r"has none of train\.jsonl, val\.jsonl, test\.jsonl: name the file"):
        splits(tmp_path, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"names": ["dog", 3]}, r"labels\.json: 'names' must be a list of labels"),
        ({"names": []}, r"labels\.json: no labels"),
        ({"names": ["dog", "cat", "dog"]}, r"labels\.json: duplicate label 'dog'"),
        ({"names": ["dog", "cat"], "groups": [["dog"]]}, r"labels\.json: 'groups' must give each group a list"),
        ({"names": ["dog", "cat"], "groups": {"pets": ["dgo"]}}, r"labels\.json: unknown label 'dgo' .did you mean"),
        ({"names": ["dog", "cat"], "extra": "dog"}, r"labels\.json: 'extra' must be a list"),
        ({"names": ["dog", "cat"], "exhaustive": 1}, r"labels\.json: 'exhaustive' must be true or false"),
        ({"names": ["dog", "cats"]}, r"line 1: label 'cat' is not in .*labels\.json: .* \(did you mean 'cats'\?\)\.$"),
        (b'{"names": [}', r"labels\.json, line 1: not valid JSON"),
    ],
)
def test_a_faulty_labels_json_is_rejected(tmp_path: Path, content: Any, message: str) -> None:
    file = write(tmp_path / "my.jsonl", LINES[0])
    sidecar = write(tmp_path / "labels.json", content)
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(sidecar) in str(caught.value)


@pytest.mark.parametrize("content", [["dog", "cat"], {"labels": ["dog"]}, {"names": {"0": "dog"}}, b"[}", b"\xff\xfe"])
def test_a_labels_json_of_another_tool_is_not_used_and_named(tmp_path: Path, content: Any) -> None:
    file = write(tmp_path / "my.jsonl", LINES[0])
    before = load(file, "all", {})
    sidecar = write(tmp_path / "labels.json", content)
    dataset = load(file, "all", {})
    assert dataset.label_space == before.label_space
    assert dataset.warnings == (
        f'{sidecar} is not used, since it has no list "names" of labels as Tagformer writes it.',
    )
