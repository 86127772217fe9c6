"""NEWS-500 in the two layouts: the lists and the index of VG-500, or the files that the code of C-Tran reads.

The latter are, for each split, ``train_split.p``, a pickled list with the ``file_path`` and ``image_id`` of each image,
and ``caption_train_space.npy``, a matrix (images, 500) with 1 where a label is present. The pickle is read without
running code: it may hold plain lists, dictionaries, text and numbers only.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tagformer.data.columns import Files, Origins, Strings
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats.visual_genome import LABELS, ImageListFormat
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT

PICKLES = {"train": "train_split.p", "test": "test_split.p"}
MATRICES = {"train": "caption_train_space.npy", "test": "caption_test_space.npy"}
ROOT_OF_AUTHORS = "/localtmp/data/data/"  # their code replaces it by the folder of the data


class NewsFormat(ImageListFormat):
    """NEWS-500; see the module's text."""

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """train and test, as far as their files exist.

        Raises:
            TagformerError: neither does.
        """
        pickled = tuple(split for split, name in PICKLES.items() if (path / name).is_file())
        return pickled or super().splits(path, options)

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: as `ImageListFormat.load`; a pickle with other content, or a matrix of another shape.
        """
        splits = [name for name in self.splits(path, options) if split in (name, "all")]
        if not any((path / PICKLES[name]).is_file() for name in splits):
            return super().load(path, split, options)
        files = [path / PICKLES[name] for name in splits]
        entries = [_read_entries(file) for file in files]
        matrices = [_read_matrix(path / MATRICES[name], len(rows)) for name, rows in zip(splits, entries, strict=True)]
        flat = [entry for rows in entries for entry in rows]
        return MultiLabelDataset(
            name=str(path),
            label_space=self.label_space(options),
            images=Files(path, (_image_path(entry["file_path"], options) for entry in flat)),
            labels=SparseRows.of(_rows(np.concatenate(matrices)), LABELS),
            ids=Strings(str(entry["image_id"]) for entry in flat),
            origins=Origins(
                files,
                np.repeat(np.arange(len(files)), [len(rows) for rows in entries]),
                np.concatenate([np.arange(1, len(rows) + 1) for rows in entries]),
                word="entry",
            ),
        )


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, text and numbers; anything else would run code, and is an error."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}")


def _read_entries(file: Path) -> list[dict[str, Any]]:
    """The entries of a ``*_split.p``.

    Raises:
        TagformerError: it holds something else than a list of plain dictionaries with a file and an id.
    """
    try:
        with file.open("rb") as stream:
            entries = _PlainUnpickler(stream, encoding="latin-1").load()
    except Exception as error:  # a damaged pickle raises errors of many types
        raise TagformerError(
            f"{file} cannot be read ({error}): it must be a pickle of plain lists and dictionaries."
        ) from error
    keys = {"file_path", "image_id"}
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and keys <= entry.keys() for entry in entries):
        raise TagformerError(f"{file} is not a list of dictionaries with 'file_path' and 'image_id'.")
    return entries


def _read_matrix(file: Path, images: int) -> np.ndarray:
    """The labels of a split, (images, 500).

    Raises:
        TagformerError: the file is missing, is not a matrix of numbers, or has another shape.
    """
    try:
        matrix: np.ndarray = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise TagformerError(f"{file} cannot be read as a matrix of numbers ({error}).") from error
    if matrix.shape != (images, LABELS):
        raise TagformerError(f"{file} has the shape {matrix.shape}: it must be ({images}, {LABELS}).")
    return matrix


def _image_path(listed: Any, options: Mapping[str, str]) -> str:
    """An image's path in the folder of the data, or with the option ``images`` its file name in that folder."""
    name = str(listed)
    if "images" in options:
        return str(Path(options["images"]).expanduser().resolve() / Path(name).name)
    return name.removeprefix(ROOT_OF_AUTHORS)


def _rows(matrix: np.ndarray) -> Iterator[tuple[dict[int, int], int]]:
    """For each image label number -> present, and the state of its other labels."""
    for row in matrix:
        yield dict.fromkeys(np.flatnonzero(row > 0).tolist(), PRESENT), ABSENT


NEWS500 = NewsFormat("news", "news_category_500_labels_index.json", ("images",))
