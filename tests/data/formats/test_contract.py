"""The rules of `Format`, for every registered format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tagformer.data import FORMATS, Spec, get_format, load_dataset
from tagformer.errors import TagformerError
from tests.data_files.small import SMALL

WITH_PATH = [name for name, entry in FORMATS.items() if entry.needs_path]
SPLITS = ["train", "val", "test"]


def assert_one_sentence(error: TagformerError) -> None:
    message = str(error)
    assert message.endswith(".")
    assert "\n" not in message


def test_every_registered_format_is_tested_here() -> None:
    assert set(SMALL) == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_describes_itself(name: str) -> None:
    entry = get_format(name)
    assert entry is FORMATS[name]
    assert entry.layout
    assert all(entry.options.values())
    assert set(entry.path_options) <= set(entry.options)


@pytest.mark.parametrize("name", FORMATS)
def test_splits_are_some_of_train_val_and_test_in_that_order(tmp_path: Path, name: str) -> None:
    spec = Spec.parse(SMALL[name](tmp_path))
    assert spec.format == name
    assert list(spec.splits) == [split for split in SPLITS if split in spec.splits]
    assert "train" in spec.splits


@pytest.mark.parametrize("name", FORMATS)
def test_labels_are_the_three_states_and_ids_are_unique(tmp_path: Path, name: str) -> None:
    spec = SMALL[name](tmp_path)
    whole = load_dataset(spec, "all", on_bad_image="keep")
    assert whole.labels.dtype == torch.int8
    assert whole.labels.shape == (len(whole), len(whole.label_space))
    assert set(whole.labels.flatten().tolist()) <= {1, 0, -1}
    assert (whole.labels == 1).any()
    assert len(set(whole.ids)) == len(whole) == len(whole.images)
    assert whole.origins is None or len(whole.origins) == len(whole)


@pytest.mark.parametrize("name", FORMATS)
def test_the_splits_together_are_the_whole_with_the_same_labels(tmp_path: Path, name: str) -> None:
    spec = SMALL[name](tmp_path)
    whole = load_dataset(spec, "all", on_bad_image="keep")
    splits = [load_dataset(spec, split, on_bad_image="keep") for split in Spec.parse(spec).splits]
    assert [split.label_space for split in splits] == [whole.label_space] * len(splits)
    assert sum(map(len, splits)) == len(whole)
    rows = [tuple(row) for split in splits for row in split.labels.tolist()]
    assert sorted(rows) == sorted(tuple(row) for row in whole.labels.tolist())


@pytest.mark.parametrize("name", FORMATS)
def test_an_address_is_read_from_any_folder(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = SMALL[name](tmp_path)
    monkeypatch.chdir(tmp_path)
    text = str(Spec.parse(address.replace(str(tmp_path), ".")))
    monkeypatch.chdir("/")
    spec = Spec.parse(text)
    assert spec == Spec.parse(address)
    assert str(spec) == text


@pytest.mark.parametrize("name", WITH_PATH)
def test_a_path_that_does_not_exist_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(TagformerError, match="/no/such/folder") as caught:
        load_dataset(f"{name}:/no/such/folder")
    assert_one_sentence(caught.value)


@pytest.mark.parametrize("name", WITH_PATH)
def test_an_empty_folder_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(TagformerError) as caught:
        load_dataset(f"{name}:{tmp_path}", "all")
    assert str(tmp_path) in str(caught.value)
    assert_one_sentence(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_an_unknown_option_is_one_sentence(tmp_path: Path, name: str) -> None:
    address = SMALL[name](tmp_path)
    with pytest.raises(TagformerError, match=f"unknown option 'no-such' of format '{name}'") as caught:
        load_dataset(f"{address}{'&' if '?' in address else '?'}no-such=1")
    assert_one_sentence(caught.value)
