"""NEWS-500 as the code of C-Tran reads it: a pickled list and a matrix for each split."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tagformer.data.formats.news import NEWS500
from tagformer.errors import TagformerError

ENTRIES = [
    {"file_path": "/localtmp/data/data/images/a.jpg", "image_id": 7, "caption": "a train"},
    {"file_path": "/localtmp/data/data/images/b.jpg", "image_id": 9, "caption": "rain"},
]


def write_tree(root: Path, entries: Any = ENTRIES, shape: tuple[int, int] = (2, 500)) -> Path:
    matrix = np.zeros(shape)
    matrix[0, [3, 499]] = 1
    for split in ("train", "test"):
        (root / f"{split}_split.p").write_bytes(pickle.dumps(entries, protocol=2))
        np.save(root / f"caption_{split}_space.npy", matrix)
    return root


def test_the_files_of_the_authors_are_read(tmp_path: Path) -> None:
    dataset = NEWS500.load(write_tree(tmp_path), "train", {})
    assert NEWS500.splits(tmp_path, {}) == ("train", "test")
    assert dataset.ids == ["7", "9"]
    assert dataset.images == [tmp_path / "images" / "a.jpg", tmp_path / "images" / "b.jpg"]
    assert [torch.nonzero(row).flatten().tolist() for row in dataset.labels] == [[3, 499], []]
    assert dataset.origins is not None
    assert dataset.origins[1] == f"{tmp_path / 'train_split.p'}, entry 2"
    assert len(NEWS500.load(tmp_path, "all", {})) == 4


def test_the_images_may_be_in_a_folder_of_their_own(tmp_path: Path) -> None:
    dataset = NEWS500.load(write_tree(tmp_path), "test", {"images": str(tmp_path / "photos")})
    assert dataset.images[1] == tmp_path / "photos" / "b.jpg"


class Harmful:
    """Runs code when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_a_pickle_that_runs_code_is_an_error_and_does_not_run(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    with pytest.raises(TagformerError, match="must be a pickle of plain lists"):
        NEWS500.load(write_tree(tmp_path, [Harmful(planted)]), "train", {})
    assert not planted.exists()


@pytest.mark.parametrize(
    ("entries", "shape", "message"),
    [
        ({"a": 1}, (2, 500), "not a list of dictionaries"),
        ([{"file_path": "a.jpg"}], (1, 500), "'file_path' and 'image_id'"),
        (ENTRIES, (3, 500), r"shape \(3, 500\): it must be \(2, 500\)"),
    ],
)
def test_other_content_is_one_sentence(tmp_path: Path, entries: Any, shape: tuple[int, int], message: str) -> None:
    with pytest.raises(TagformerError, match=message):
        NEWS500.load(write_tree(tmp_path, entries, shape), "train", {})


def test_a_truncated_pickle_and_a_missing_matrix_are_one_sentence(tmp_path: Path) -> None:
    write_tree(tmp_path)
    (tmp_path / "caption_train_space.npy").unlink()
    with pytest.raises(TagformerError, match="cannot be read as a matrix"):
        NEWS500.load(tmp_path, "train", {})
    file = tmp_path / "train_split.p"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(TagformerError, match="cannot be read"):
        NEWS500.load(tmp_path, "train", {})
