"""Rows of a path, labels and perhaps a split, collected into a data set; shared by all tables and by shards."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagformer.data.columns import Files, Origins, Strings
from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.sidecar import SIDECAR, Sidecar, foreign_sidecar
from tagformer.data.sparse_rows import RowsBuilder
from tagformer.data.splits import split_of_name
from tagformer.errors import TagformerError, did_you_mean
from tagformer.images.source import ImageSource
from tagformer.labels.space import LabelSpace

PATH_COLUMNS = ("path", "image", "file", "filename")
TAG_COLUMNS = ("tags", "labels")


def row_split(cell: str | None, file: Path, origin: str) -> str:
    """A row's split: its cell or, where it has none, the name of a file such as train.csv; "" where neither names one.

    Raises:
        TagformerError: the cell is not the name of a split.
    """
    if cell is None:
        return split_of_name(file.stem) or ""
    split = split_of_name(cell)
    if split is None:
        raise TagformerError(f"{origin}: split '{cell}': use train, val or test.")
    return split


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Attributes:
        path: the image's path, as written; "" for an image that is not a file of its own.
        cells: label -> state, for the labels that the row names.
        rest: the state of all other labels.
        tagged: the row is a list of tags, so labels that no row names are absent too.
        split: train, val, test, or "".
        number: line or row of the file, from 1.
        id: the image's id; None: its path.
    """

    path: str
    cells: Mapping[str, int]
    rest: int
    tagged: bool
    split: str
    number: int
    id: str | None = None


class Table:
    """Collects rows from one or several files.

    Args:
        word: what the numbers of the rows count, for messages: line, row.
        sidecar: the file that may fix the labels; None: labels.json beside the first file.
    """

    def __init__(self, word: str = "line", sidecar: Path | None = None) -> None:
        self._word, self._sidecar = word, sidecar
        self._files: list[Path] = []
        self._columns: dict[str, int] = {}
        self._first_rows: list[int] = []  # for each column the row that names it first
        self._tagged = True
        self._has_ids = False
        self._paths, self._ids, self._rows = Strings(), Strings(), RowsBuilder()
        self._splits, self._which, self._numbers = array("b"), array("i"), array("q")

    def read(self, file: Path, rows: Iterable[Row], split: str = "") -> None:
        """Add the rows of one file.

        Args:
            split: the only split that the rows may have; "": any.

        Raises:
            TagformerError: there are no rows, or one is of another split.
        """
        count = len(self._rows)
        self._files.append(file)
        for row in rows:
            if split and row.split != split:
                raise TagformerError(
                    f"{file}, {self._word} {row.number}: split '{row.split}' in a file of the split '{split}': keep "
                    "all splits in one file, or each in its own."
                )
            self.add(row)
        if len(self._rows) == count:
            raise TagformerError(f"{file} has no images: it needs a {self._word} for each.")

    def add(self, row: Row) -> None:
        """Add a row of the file read last."""
        columns = self._columns
        for name in row.cells:
            if name not in columns:
                columns[name] = len(columns)
                self._first_rows.append(len(self._rows))
        self._tagged = self._tagged and row.tagged
        self._has_ids = self._has_ids or row.id is not None
        self._rows.add({columns[name]: state for name, state in row.cells.items()}, row.rest)
        self._paths.append(row.path)
        self._ids.append(row.path if row.id is None else row.id)
        self._splits.append(SPLITS.index(row.split) if row.split else -1)
        self._which.append(len(self._files) - 1)
        self._numbers.append(row.number)

    def build(
        self,
        name: str,
        folder: Path,
        split: str,
        names: Sequence[str] | None = None,
        images: Sequence[ImageSource] | None = None,
    ) -> MultiLabelDataset:
        """The data set of one split, or of ``all``.

        Args:
            name: the data set's name in messages.
            folder: what the paths are relative to.
            names: the labels in their order, where no labels.json fixes them; None: the labels that rows name, in
                alphabetical order where all rows are lists of tags, otherwise in the order of the columns.
            images: the image of each row; None: the files that the paths name.

        Raises:
            TagformerError: a duplicate image or id, no labels, a label that is not in labels.json or `names`, or only
                some rows with a split.
        """
        origins = Origins(self._files, np.array(self._which), np.array(self._numbers), self._word)
        ids = self._ids if self._has_ids else self._paths
        _check_unique(ids, origins, "id" if self._has_ids else "image")
        splits = np.array(self._splits)
        if (splits < 0).any() and (splits >= 0).any():
            first = origins[int(splits.argmin())]
            raise TagformerError(f"{first}: no split, but other rows have one: give every row a split, or none.")
        sidecar_file = self._sidecar or self._files[0].with_name(SIDECAR)
        sidecar = Sidecar.read(sidecar_file)
        label_space = sidecar.label_space if sidecar else self._label_space(name, names)
        self._check_labels(label_space, sidecar, origins)
        dataset = MultiLabelDataset(
            name=name,
            label_space=label_space,
            images=Files(folder, self._paths) if images is None else images,
            labels=self._rows.build(len(label_space), [label_space.index(label) for label in self._columns]),
            ids=ids,
            origins=origins,
            exhaustive=self._tagged if sidecar is None or sidecar.exhaustive is None else sidecar.exhaustive,
            warnings=foreign_sidecar(sidecar_file),
        )
        if split == "all":
            return dataset
        return dataset.subset(np.flatnonzero(splits == SPLITS.index(split)))

    def _label_space(self, name: str, names: Sequence[str] | None) -> LabelSpace:
        if names is None:
            names = sorted(self._columns) if self._tagged else list(self._columns)
            if not names:
                raise TagformerError(f"{name} has no labels: no image has a tag, and no column is a label.")
        try:
            return LabelSpace(tuple(names))
        except TagformerError as error:
            raise TagformerError(f"{name}: {error}") from error

    def _check_labels(self, label_space: LabelSpace, sidecar: Sidecar | None, origins: Origins) -> None:
        """
        Raises:
            TagformerError: a row names a label that the label space does not have.
        """
        allowed = set(label_space.names)
        for label, row in zip(self._columns, self._first_rows, strict=True):
            if label not in allowed:
                where = f"in {sidecar.file}" if sidecar else f"among the {len(label_space)} labels"
                raise TagformerError(
                    f"{origins[row]}: label '{label}' is not {where}: fix the name, or add it there"
                    f"{did_you_mean(label, label_space.names)}."
                )


def _check_unique(ids: Strings, origins: Origins, word: str) -> None:
    hashes = np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))
    if len(np.unique(hashes)) == len(ids):
        return
    first: dict[str, int] = {}
    for row, image_id in enumerate(ids):
        if image_id in first:
            raise TagformerError(
                f"{origins[row]}: {word} '{image_id}' is a duplicate of {origins[first[image_id]]}: "
                "list each image once, with all its labels."
            )
        first[image_id] = row
