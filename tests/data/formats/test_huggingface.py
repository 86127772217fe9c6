from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from huggingface_hub import constants

from tagformer.data import MultiLabelDataset, load_dataset
from tagformer.data.formats.huggingface import HuggingFaceFormat
from tagformer.errors import BadImageError, TagformerError
from tagformer.images.reading import load_image
from tests.stored_pictures import assert_shows, png

FORMAT = HuggingFaceFormat()
load, splits = FORMAT.load, FORMAT.splits

NAMES = ["dog", "cat", "ant"]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched, and the library writes to the test's folder."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def table(labels: list[Any], first: int = 0, names: list[str] | None = None, **more: list[Any]) -> datasets.Dataset:
    """Pictures from number `first` on, with lists of class indices or, where `names` is [], of text."""
    own = NAMES if names is None else names
    images = [{"bytes": png(first + row), "path": None} for row in range(len(labels))]
    kinds = {
        "photo": datasets.Image(),
        "objects": datasets.Sequence(datasets.ClassLabel(names=own) if own else datasets.Value("string")),
        **{key: datasets.Value("int64" if isinstance(values[0], int) else "string") for key, values in more.items()},
    }
    return datasets.Dataset.from_dict({"photo": images, "objects": labels, **more}, datasets.Features(kinds))


def save(folder: Path, **parts: datasets.Dataset) -> Path:
    datasets.DatasetDict(parts).save_to_disk(folder)
    return folder


def states(dataset: MultiLabelDataset) -> dict[str, list[int]]:
    return dict(zip(dataset.ids, dataset.labels.tolist(), strict=True))


# What save_to_disk wrote


def test_class_indices_are_labels_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", train=table([[0], [2, 1], None, []]), test=table([[1]], 9))
    assert splits(folder, {}) == ("train", "test")
    train, test = load(folder, "train", {}), load(folder, "test", {})
    assert train.label_space.names == ("dog", "cat", "ant")
    assert train.labels.dtype == torch.int8
    assert states(train) == {"train/1": [1, 0, 0], "train/2": [0, 1, 1], "train/3": [-1, -1, -1], "train/4": [0, 0, 0]}
    assert states(test) == {"test/1": [0, 1, 0]}
    assert train.exhaustive
    assert train.origins is not None
    assert train.origins[1] == str(train.images[1]) == f"{folder}, train, row 2"
    assert load(folder, "all", {}).ids == [*train.ids, *test.ids]


def test_images_come_out_pixel_by_pixel_also_in_loader_processes(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", train=table([[0], [1], [2], []]), validation=table([[0]], 4))
    assert_shows(load_dataset(f"huggingface:{folder}", "train"), range(4))
    assert_shows(load(folder, "all", {}).subset([4, 0, 3]), [4, 0, 3])


def test_a_single_table_and_a_lone_train_have_no_splits(tmp_path: Path) -> None:
    table([[0], [1]]).save_to_disk(tmp_path / "single")
    for folder in (tmp_path / "single", save(tmp_path / "lone", train=table([[0], [1]]))):
        assert splits(folder, {}) == ()
        assert states(load(folder, "all", {})) == {"train/1": [1, 0, 0], "train/2": [0, 1, 0]}


def test_a_selection_of_rows_keeps_its_own_images(tmp_path: Path) -> None:
    table([[0], [1], [2]]).select([2, 0]).save_to_disk(tmp_path / "set")
    dataset = load(tmp_path / "set", "all", {})
    assert states(dataset) == {"train/1": [0, 0, 1], "train/2": [1, 0, 0]}
    assert_shows(dataset, [2, 0])


@pytest.mark.parametrize("word", ["validation", "valid", "val", "dev"])
def test_validation_has_several_names_and_other_splits_are_left_out(tmp_path: Path, word: str) -> None:
    folder = save(tmp_path / "set", **{"unsupervised": table([[0]], 5), word: table([[1]], 6), "train": table([[2]])})
    assert splits(folder, {}) == ("train", "val")
    assert states(load(folder, "val", {})) == {"val/1": [0, 1, 0]}
    assert len(load(folder, "all", {})) == 2


def test_lists_of_text_are_labels_in_alphabetical_order_over_all_splits(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", train=table([["dog", "cat"], []], names=[]), test=table([["ant"], None], names=[]))
    assert load(folder, "train", {}).label_space.names == ("ant", "cat", "dog")
    assert states(load(folder, "all", {})) == {
        "train/1": [0, 1, 1],
        "train/2": [0, 0, 0],
        "test/1": [1, 0, 0],
        "test/2": [-1, -1, -1],
    }


def test_options_name_the_columns(tmp_path: Path) -> None:
    whole = table([[0], [1]], key=["x", "y"], number=[7, 8])
    whole = whole.add_column("captions", [["a dog"], ["a cat"]])
    whole.save_to_disk(tmp_path / "set")
    options = {"image": "photo", "labels": "objects"}
    assert load(tmp_path / "set", "all", options).ids == ["train/1", "train/2"]
    assert states(load(tmp_path / "set", "all", {**options, "id": "key"})) == {"x": [1, 0, 0], "y": [0, 1, 0]}
    assert load(tmp_path / "set", "all", {**options, "id": "number"}).ids == ["7", "8"]
    captions = load(tmp_path / "set", "all", {"labels": "captions"})
    assert captions.label_space.names == ("a cat", "a dog")


def test_labels_json_in_the_folder_takes_precedence_over_the_class_names(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", train=table([[0], [1]]))
    content = {"names": ["cat", "wolf", "dog"], "groups": {"canids": ["wolf", "dog"]}, "extra": ["wolf"]}
    (folder / "labels.json").write_text(json.dumps(content))
    dataset = load(folder, "all", {})
    assert dataset.label_space.to_dict() == content
    assert dataset.labels.tolist() == [[0, 0, 1], [1, 0, 0]]


# What load_dataset takes


def test_a_folder_of_parquet_files_is_loaded_through_the_library(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    table([[0], [1, 2]]).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    table([[2]], 2).to_parquet(folder / "data" / "validation-00000-of-00001.parquet")
    assert splits(folder, {}) == ("train", "val")
    dataset = load(folder, "all", {})
    assert states(dataset) == {"train/1": [1, 0, 0], "train/2": [0, 1, 1], "val/1": [0, 0, 1]}
    assert_shows(dataset, range(3))


def test_a_folder_of_images_with_metadata_has_its_images_as_files(tmp_path: Path) -> None:
    lines = []
    (tmp_path / "set" / "train").mkdir(parents=True)
    for number, labels in enumerate([["dog"], ["cat", "dog"]]):
        (tmp_path / "set" / "train" / f"{number}.png").write_bytes(png(number))
        lines.append(json.dumps({"file_name": f"{number}.png", "labels": labels}))
    (tmp_path / "set" / "train" / "metadata.jsonl").write_text("\n".join(lines))
    dataset = load(tmp_path / "set", "all", {})
    assert dataset.label_space.names == ("cat", "dog")
    assert states(dataset) == {"train/1": [0, 1], "train/2": [1, 1]}
    assert_shows(dataset, [0, 1])
    (tmp_path / "set" / "train" / "1.png").unlink()
    with pytest.raises(BadImageError, match=r"set, train, row 2 is broken \(it names .*1\.png: No such file"):
        load_image(dataset.images[1])


def test_a_configuration_is_chosen_by_option(tmp_path: Path) -> None:
    for name, labels in (("small", [[0]]), ("large", [[0], [1]])):
        (tmp_path / "set" / name).mkdir(parents=True)
        table(labels).to_parquet(tmp_path / "set" / name / "train.parquet")
    head = "".join(f"- config_name: {name}\n  data_dir: {name}\n" for name in ("small", "large"))
    (tmp_path / "set" / "README.md").write_text(f"---\nconfigs:\n{head}---\n")
    assert len(load(tmp_path / "set", "all", {"config": "large"})) == 2
    assert len(load(tmp_path / "set", "all", {"config": "small"})) == 1
    with pytest.raises(TagformerError, match=r"cannot load .*set \(Config name is missing"):
        load(tmp_path / "set", "all", {})


# Malformed


def test_a_cell_without_an_image_or_with_something_else_is_a_bad_image_with_its_row(tmp_path: Path) -> None:
    images = [None, {"bytes": b"text", "path": None}]
    features = datasets.Features({"photo": datasets.Image(), "tags": datasets.Sequence(datasets.Value("string"))})
    datasets.Dataset.from_dict({"photo": images, "tags": [["a"], ["b"]]}, features).save_to_disk(tmp_path / "set")
    cells = load(tmp_path / "set", "all", {}).images
    for row, message in enumerate([r"is broken \(the cell is empty", "is not an image"]):
        with pytest.raises(BadImageError, match=f"set, train, row {row + 1} {message}"):
            load_image(cells[row])


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (lambda: table([["dog"], ["cat", None]], names=[]), {}, "set, train, row 2: 'tags' must be a list of names"),
        (lambda: table([["dog"], [""]], names=[]), {}, "set, train, row 2: 'tags' must be a list of names"),
        (lambda: table([[0], [-1]]), {}, "set, train, row 2: class index -1: there are 3 names"),
        (lambda: table([[0], [None]]), {}, "set, train, row 2: class index None: there are 3 names"),
        (
            lambda: table([[0], [1]], key=["x", "x"]),
            {"id": "key"},
            "set, train, row 2: id 'x' is a duplicate of .*set, train, row 1",
        ),
        (lambda: table([[0], [1]], key=["x", ""]), {"id": "key"}, "set, train, row 2: id '': use text"),
        (lambda: table([[0]], key=["x"]), {"id": "kay"}, "has no column 'kay' .did you mean 'key'"),
        (lambda: table([[0]]).remove_columns("photo"), {}, r"has no column with images \(columns: objects\)"),
        (
            lambda: table([[0]]).remove_columns("objects"),
            {},
            r"has no column with lists of class indices or of text \(columns: photo\): name one with \?labels=COLUMN",
        ),
        (
            lambda: table([[0]]).add_column("tags", [["dog"]]),
            {},
            r"has several columns with lists of class indices or of text, objects, tags",
        ),
        (lambda: table([[0]], key=[5]), {"labels": "key"}, "column 'key' is Value.*: it must hold lists"),
        (lambda: table([[0]]), {"image": "photos"}, "has no column 'photos' .did you mean 'photo'"),
        (lambda: table([[], None], names=[]), {}, "has no labels: no image has a tag"),
    ],
)
def test_a_faulty_table_is_rejected_with_its_name_and_row(
    tmp_path: Path, build: Callable[[], datasets.Dataset], options: dict[str, str], message: str
) -> None:
    build().save_to_disk(tmp_path / "set")
    with pytest.raises(TagformerError, match=message) as caught:
        load(tmp_path / "set", "all", options)
    assert str(tmp_path / "set") in str(caught.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: {"train": table([[0]]), "test": table([[0]], 1, names=["cat", "dog", "ant"])},
            "the columns or class names of its splits differ",
        ),
        (lambda: {"val": table([[0]]), "dev": table([[1]], 1)}, "has two splits for 'val', one of them 'dev'"),
        (lambda: {"extra": table([[0]])}, "has the splits extra: none is train, validation or test"),
    ],
)
def test_splits_that_do_not_fit_together_are_rejected(
    tmp_path: Path, build: Callable[[], dict[str, datasets.Dataset]], message: str
) -> None:
    folder = save(tmp_path / "set", **build())
    with pytest.raises(TagformerError, match=message) as caught:
        load(folder, "train", {})
    assert str(folder) in str(caught.value)


def test_a_damaged_or_an_empty_folder_is_rejected_by_name(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", train=table([[0], [1]]))
    next((folder / "train").glob("*.arrow")).write_bytes(b"no arrow")
    (tmp_path / "empty").mkdir()
    for own in (folder, tmp_path / "empty"):
        with pytest.raises(
            TagformerError, match=r"huggingface cannot load .* \(.+\): check what the library"
        ) as caught:
            load(own, "train", {})
        assert str(own) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_name_on_the_hub_without_a_network_is_one_clear_sentence() -> None:
    with pytest.raises(
        TagformerError,
        match=r"^huggingface cannot load name/on-hub \(.+\): there is no such folder here; for a name on the Hub "
        r"check its spelling and the network\.$",
    ):
        load_dataset("huggingface:name/on-hub")


def test_without_the_library_the_message_explains_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = builtins.__import__

    def fail(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return usual(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(TagformerError, match="pip install datasets"):
        splits(tmp_path, {})
