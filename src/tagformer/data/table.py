"""What CSV, JSON lines and Parquet share: rows of a path, labels and perhaps a split, collected into a data set."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagformer.data.compact import Files, Origins, RowsBuilder, Strings
from tagformer.data.record import ImageSource, MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace

SPLITS = ("train", "val", "test")
PATH_COLUMNS = ("path", "image", "file", "filename")
TAG_COLUMNS = ("tags", "labels")


def split_files(path: Path, suffix: str) -> list[Path]:
    """The files of a table: `path` itself, or a folder's train, val and test file, as many as there are.

    Raises:
        TagformerError: a folder with none of them.
    """
    if not path.is_dir():
        return [path]
    found = [file for split in SPLITS if (file := path / f"{split}{suffix}").is_file()]
    if not found:
        expected = ", ".join(f"{split}{suffix}" for split in SPLITS)
        raise TagformerError(f"{path} has none of {expected}: name the file itself.")
    return found


def checked_split(cell: str | None, file: Path, origin: str) -> str:
    """A row's split: what its cell says or, where it has none, the name of a file such as train.csv; "" for neither.

    Raises:
        TagformerError: the cell says something else.
    """
    if cell is None:
        return file.stem if file.stem in SPLITS else ""
    if cell not in SPLITS:
        raise TagformerError(f"{origin}: split '{cell}': use train, val or test.")
    return cell


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Attributes:
        path: the image's path, as written; it is the image's id too.
        cells: label -> state, where this row says something.
        rest: state of the labels that the row does not name.
        tagged: the row is a list of tags, so labels it does not name are absent if it names any.
        split: train, val, test, or nothing.
        number: line or row of the file, from 1.
    """

    path: str
    cells: Mapping[str, int]
    rest: int
    tagged: bool
    split: str
    number: int


class Table:
    """Collects rows from one or several files.

    Args:
        word: what the numbers of the rows count, for messages.
    """

    def __init__(self, word: str = "line") -> None:
        self._word = word
        self._files: list[Path] = []
        self._columns: dict[str, int] = {}
        self._tagged = True
        self._paths, self._rows = Strings(), RowsBuilder()
        self._splits, self._which, self._numbers = array("b"), array("h"), array("q")

    def read(self, file: Path, rows: Iterable[Row]) -> None:
        """Take the rows of one file.

        Raises:
            TagformerError: there are none.
        """
        count = len(self._paths)
        self._files.append(file)
        for row in rows:
            self.add(row)
        if len(self._paths) == count:
            raise TagformerError(f"{file} has no images: it needs a {self._word} for each.")

    def add(self, row: Row) -> None:
        columns = self._columns
        self._tagged = self._tagged and row.tagged
        self._rows.add({columns.setdefault(name, len(columns)): state for name, state in row.cells.items()}, row.rest)
        self._paths.append(row.path)
        self._splits.append(SPLITS.index(row.split) if row.split else -1)
        self._which.append(len(self._files) - 1)
        self._numbers.append(row.number)

    def build(
        self,
        name: str,
        folder: Path,
        split: str,
        label_space: LabelSpace | None = None,
        images: Sequence[ImageSource] | None = None,
    ) -> MultiLabelDataset:
        """The data set of one split (or ``all``).

        Args:
            folder: what the paths are relative to.
            label_space: the labels and their order; None: those that were seen, in alphabetical order where all rows
                are lists of tags.
            images: the image of each row; None: the files that the paths name.

        Raises:
            TagformerError: an image named twice, no labels, or a label that the label space does not have.
        """
        origins = Origins(self._files, np.array(self._which), np.array(self._numbers), self._word)
        _refuse_twins(self._paths, origins)
        if label_space is None:
            if not self._columns:
                raise TagformerError(f"{name} has no labels: no image has a tag, and no column is a label.")
            label_space = LabelSpace(tuple(sorted(self._columns)) if self._tagged else tuple(self._columns))
        places = [label_space.index(label) for label in self._columns]
        dataset = MultiLabelDataset(
            name=name,
            label_space=label_space,
            images=Files(folder, self._paths) if images is None else images,
            labels=self._rows.build(len(label_space), places),
            ids=self._paths,
            origins=origins,
            exhaustive=self._tagged,
        )
        if split == "all":
            return dataset
        return dataset.subset(np.flatnonzero(np.array(self._splits) == SPLITS.index(split)))


def _refuse_twins(paths: Strings, origins: Origins) -> None:
    hashes = np.fromiter(map(hash, paths), dtype=np.int64, count=len(paths))
    if len(np.unique(hashes)) == len(paths):
        return
    first: dict[str, int] = {}
    for row, path in enumerate(paths):
        if path in first:
            raise TagformerError(
                f"{origins[row]}: image '{path}' stands already in {origins[first[path]]}: "
                "write each image once, with all its labels."
            )
        first[path] = row
