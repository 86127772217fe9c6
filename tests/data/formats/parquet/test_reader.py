from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tagformer.data import MultiLabelDataset, load_dataset
from tagformer.data.formats.parquet import ParquetFormat
from tagformer.errors import BadImageError, TagformerError
from tagformer.images.reading import load_image
from tests.stored_pictures import assert_shows, picture, png

FORMAT = ParquetFormat()
load, splits = FORMAT.load, FORMAT.splits

TEXTS = pa.list_(pa.string())
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(file: Path, types: dict[str, pa.DataType] | None = None, group: int = 2, **columns: list[Any]) -> Path:
    """A table of these columns in row groups of two; `types` says those that pyarrow would not guess."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: pa.array(values, (types or {}).get(name)) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), file, row_group_size=group)
    return file


def write_hugging(
    file: Path,
    labels: list[list[int] | None],
    numbers: list[int] | None = None,
    names: tuple[str, ...] = ("dog", "cat", "ant"),
) -> Path:
    """As the library writes it: a column of images and one of class indices, and further ones."""
    numbers = list(range(len(labels))) if numbers is None else numbers
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "objects": datasets.Value("string"),
            "labels": datasets.Sequence(datasets.ClassLabel(names=list(names))),
        }
    )
    images = [{"bytes": png(number), "path": None} for number in numbers]
    columns = {"image": images, "objects": ["several"] * len(labels), "labels": labels}
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=features).to_parquet(file, batch_size=3)
    return file


def states(dataset: MultiLabelDataset) -> dict[str, list[int]]:
    return dict(zip(dataset.ids, dataset.labels.tolist(), strict=True))


# Hugging Face's files


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


# Columns of one's own


def test_lists_of_names_say_all_three_states_and_images_are_paths(tmp_path: Path) -> None:
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


def test_one_column_a_label_has_1_0_or_null_of_any_type(tmp_path: Path) -> None:
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


def test_bytes_may_stand_in_a_column_alone_and_a_null_names_a_file(tmp_path: Path) -> None:
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


# Splits, labels.json


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


def test_labels_json_goes_before_class_names_and_alphabet(tmp_path: Path) -> None:
    file = write_hugging(tmp_path / "my.parquet", [[0], [1]])
    content = {"names": ["cat", "wolf", "dog"], "groups": {"canids": ["wolf", "dog"]}, "extra": ["wolf"]}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    dataset = load(file, "all", {})
    assert dataset.label_space.to_dict() == content
    assert dataset.labels.tolist() == [[0, 0, 1], [1, 0, 0]]


# Reading on, anew, and elsewhere


def test_images_are_read_in_any_order_by_threads_and_after_being_sent(tmp_path: Path) -> None:
    file = write(tmp_path / "my.parquet", group=40, image=[png(i) for i in range(90)], tags=[["dog"]] * 90)
    images = load(file, "all", {}).images
    order = np.random.default_rng(0).permutation(90).tolist()
    for row in order[:30]:
        assert images[row].read() == png(row)  # type: ignore[union-attr]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda row: images[row].read() == png(row), order)) == [True] * 90  # type: ignore[union-attr]
    sent = pickle.loads(pickle.dumps(images))
    assert np.array_equal(np.array(load_image(sent[89])), np.array(picture(89)))


def test_after_a_damaged_part_the_others_are_still_read(tmp_path: Path) -> None:
    """The second row group's pages are overwritten; whoever read up to there must not hand out an earlier image."""
    file = tmp_path / "my.parquet"
    table = pa.table({"image": [png(i) for i in range(6)], "tags": [["dog"]] * 6})
    pq.write_table(table, file, row_group_size=2, use_dictionary=False, compression="gzip")
    images = load(file, "all", {}).images
    column = pq.read_metadata(file).row_group(1).column(0)
    content = bytearray(file.read_bytes())
    start = column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    file.write_bytes(content)
    assert images[1].read() == png(1)  # type: ignore[union-attr]
    for _ in range(2):
        for row in (2, 3):
            with pytest.raises(BadImageError, match=rf"my\.parquet, row {row + 1} is broken"):
                load_image(images[row])
        assert images[4].read() == png(4)  # type: ignore[union-attr]
        assert images[0].read() == png(0)  # type: ignore[union-attr]


def test_a_cell_without_an_image_or_with_something_else_is_a_bad_image_with_its_row(tmp_path: Path) -> None:
    file = write(tmp_path / "my.parquet", {"image": pa.binary()}, image=[None, b"text", png(2)[:90]], tags=[["a"]] * 3)
    images = load(file, "all", {}).images
    for row, message in enumerate(["is broken .the cell is empty", "is not an image", "is broken"]):
        with pytest.raises(BadImageError, match=rf"my\.parquet, row {row + 1} {message}"):
            load_image(images[row])


# Malformed

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
        ({**OK, "split": ["train", "dev"]}, {}, "row 2: split 'dev': use train, val or test"),
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
def test_a_faulty_table_is_refused_with_the_file_and_the_row(
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
def test_an_option_that_does_not_fit_the_table_is_refused(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    file = write(tmp_path / "my.parquet", **OK)
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", options)
    assert str(file) in str(caught.value)


def test_a_class_index_without_a_name_is_refused_with_its_row(tmp_path: Path) -> None:
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
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, spoil: Callable[[bytes], bytes], message: str) -> None:
    file = tmp_path / "my.parquet"
    pq.write_table(pa.table(OK), file, compression="none", use_dictionary=False)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(file) in str(caught.value)


def test_a_folder_with_part_of_its_shards_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train-00001-of-00002.parquet", **OK)
    with pytest.raises(
        TagformerError, match=r"has 1 of the 2 files of 'train' that train-00001-of-00002\.parquet belongs to"
    ):
        splits(tmp_path, {})


def test_shards_with_other_class_names_are_refused(tmp_path: Path) -> None:
    write_hugging(tmp_path / "train.parquet", [[0]])
    write_hugging(tmp_path / "test.parquet", [[0]], [1], names=("cat", "dog", "ant"))
    with pytest.raises(
        TagformerError, match=r"test\.parquet and .*train\.parquet have different columns or class names"
    ):
        load(tmp_path, "train", {})


def test_a_row_of_another_split_than_its_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", **OK, split=["train", "val"])
    with pytest.raises(TagformerError, match=r"train\.parquet, row 2: split 'val' in a file of the split 'train'"):
        load(tmp_path, "train", {})


def test_a_folder_without_split_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "mine.parquet", **OK)
    with pytest.raises(TagformerError, match=r"has no train\.parquet, val\.parquet"):
        splits(tmp_path, {})
