"""Rows of a path, labels and perhaps a split, collected into a data set; shared by all tables and by shards."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagformer.data.columns import Files, Origins, Strings
from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.cells import is_missing
from tagformer.data.formats._common.merging import first_rows, merge_rows
from tagformer.data.formats._common.names import SEPARATORS, check_known, check_names, lonely_label_warnings
from tagformer.data.formats._common.options import TagOptions
from tagformer.data.formats._common.sidecar import SIDECAR, Sidecar, foreign_sidecar
from tagformer.data.sparse_rows import RowsBuilder
from tagformer.data.splits import split_of_name
from tagformer.errors import TagformerError
from tagformer.images.source import ImageSource
from tagformer.labels.names import plain_name
from tagformer.labels.space import PRESENT, UNKNOWN, LabelSpace

PATH_COLUMNS = ("path", "image", "file", "filename", "file_name")
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

    Names that differ only in characters that do not show are one label (see `plain_name`). A list of tags that is only
    a missing value, as ``nan``, counts as an empty one.

    Args:
        word: what the numbers of the rows count, for messages: line, row.
        sidecar: the file that may fix the labels; None: labels.json beside the first file.
        names: the labels in their order, where no labels.json fixes them; None: the labels that rows name, in
            alphabetical order where all rows are lists of tags, otherwise in the order of the columns.
        options: how cells of tags are read.
        text: tags are cells of text, as in a CSV. Where every row has at most one, an image may be in several rows.
        advice: what to do where the names in a column of tags are numbers.
    """

    def __init__(
        self,
        word: str = "line",
        sidecar: Path | None = None,
        names: Sequence[str] | None = None,
        options: TagOptions = TagOptions(),  # noqa: B008  # it is frozen
        advice: str = "write the names of the labels",
        text: bool = False,
    ) -> None:
        self._word, self._sidecar_file, self._fixed, self._options = word, sidecar, names, options
        self._advice, self._text = advice, text
        self._sidecar: Sidecar | None = None
        self._files: list[Path] = []
        self._columns: dict[str, int] = {}  # every spelling of a name -> its label's column
        self._names: list[str] = []  # the name of each column
        self._first_rows: list[int] = []  # for each column the row that names it first
        self._tagged, self._any_tagged, self._mergeable = True, False, text
        self._untagged = 0
        self._missing: Counter[str] = Counter()
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
        if not self._files:
            self._sidecar = Sidecar.read(self._sidecar_file or file.with_name(SIDECAR))
            self._fixed = self._sidecar.label_space.names if self._sidecar else self._fixed
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
        """Add a row of the file read last.

        Raises:
            TagformerError: two spellings of one label have different states.
        """
        columns, rest = self._columns, row.rest
        try:
            states = {columns[name]: state for name, state in row.cells.items()}
        except KeyError:
            states = self._add_names(row)
        if len(states) != len(row.cells):
            self._check_spellings(row)
        if row.tagged:
            self._any_tagged = True
            if not states and (rest == UNKNOWN or row.cells):
                self._untagged += 1
                rest = self._options.untagged
            elif len(states) > 1 or (states and PRESENT not in states.values()):
                self._mergeable = False
        else:
            self._tagged = self._mergeable = False
        self._has_ids = self._has_ids or row.id is not None
        self._rows.add(states, rest)
        self._paths.append(row.path)
        self._ids.append(row.path if row.id is None else row.id)
        self._splits.append(SPLITS.index(row.split) if row.split else -1)
        self._which.append(len(self._files) - 1)
        self._numbers.append(row.number)

    def _add_names(self, row: Row) -> dict[int, int]:
        """The states of a row by column, with new columns for new names and without missing values in lists of tags."""
        columns, states = self._columns, {}
        for spelling, state in row.cells.items():
            if spelling not in columns:
                name = plain_name(spelling)
                if row.tagged and is_missing(name) and name not in (self._fixed or ()):
                    self._missing[name] += 1
                    continue
                if name not in columns:
                    columns[name] = len(self._names)
                    self._names.append(name)
                    self._first_rows.append(len(self._rows))
                columns[spelling] = columns[name]
            states[columns[spelling]] = state
        return states

    def _check_spellings(self, row: Row) -> None:
        """
        Raises:
            TagformerError: two spellings of one label have different states.
        """
        states: dict[int, int] = {}
        for name, state in row.cells.items():
            column = self._columns.get(name)
            if column is not None and states.setdefault(column, state) != state:
                raise TagformerError(
                    f"{self._files[-1]}, {self._word} {row.number}: label '{self._names[column]}' has two spellings "
                    "that look the same, with different states: remove one."
                )

    def build(
        self, name: str, folder: Path, split: str, images: Sequence[ImageSource] | None = None
    ) -> MultiLabelDataset:
        """The data set of one split, or of ``all``.

        Args:
            name: the data set's name in messages.
            folder: what the paths are relative to.
            images: the image of each row; None: the files that the paths name.

        Raises:
            TagformerError: a duplicate image or id, no labels, a label that is not in labels.json or among the given
                names, names that are not the name of one label, or only some rows with a split.
        """
        origins = Origins(self._files, np.array(self._which), np.array(self._numbers), self._word)
        splits = np.array(self._splits)
        if (splits < 0).any() and (splits >= 0).any():
            first = origins[int(splits.argmin())]
            raise TagformerError(f"{first}: no split, but other rows have one: give every row a split, or none.")
        label_space = self._label_space(name)
        where = f"in {self._sidecar.file}" if self._sidecar else f"among the {len(label_space)} labels"
        check_known(dict(zip(self._names, self._first_rows, strict=True)), label_space, origins, where)
        warnings = self._warnings(name, origins)
        ids = self._ids if self._has_ids else self._paths
        paths, places = self._paths, [label_space.index(label) for label in self._names]
        rows = self._rows.build(len(label_space), places)
        first_row = first_rows(ids)
        if first_row is not None:
            wrong = first_row != np.arange(len(first_row))
            if self._mergeable and not self._has_ids and images is None:
                wrong = splits[first_row] != splits
            if wrong.any():
                row, word = int(wrong.argmax()), "id" if self._has_ids else "image"
                raise TagformerError(
                    f"{origins[row]}: {word} '{ids[row]}' is a duplicate of {origins[int(first_row[row])]}: "
                    "list each image once, with all its labels."
                )
            kept = np.unique(first_row)
            warnings += (f"{name} has {len(ids)} rows for {len(kept)} images: the rows of an image are merged",)
            rows, ids, paths = merge_rows(rows, first_row), ids.take(kept), paths.take(kept)
            origins, splits = origins.take(kept), splits[kept]
        exhaustive = self._sidecar.exhaustive if self._sidecar else None
        dataset = MultiLabelDataset(
            name=name,
            label_space=label_space,
            images=Files(folder, paths) if images is None else images,
            labels=rows,
            ids=ids,
            origins=origins,
            exhaustive=self._tagged if exhaustive is None else exhaustive,
            warnings=(
                *warnings,
                *lonely_label_warnings(name, rows, label_space),
                *foreign_sidecar(self._sidecar_file or self._files[0].with_name(SIDECAR)),
            ),
        )
        if split == "all":
            return dataset
        return dataset.subset(np.flatnonzero(splits == SPLITS.index(split)))

    def _warnings(self, name: str, origins: Origins) -> tuple[str, ...]:
        """One sentence for each likely mistake in the names, and for the cells that count as not annotated.

        Raises:
            TagformerError: the names are not the names of single labels.
        """
        warnings: tuple[str, ...] = ()
        if self._any_tagged and self._fixed is None:
            places = dict(zip(self._names, self._first_rows, strict=True))
            separators = [text for text in SEPARATORS if not (self._text and text == ";")]
            separators = [] if self._options.separator else separators
            warnings = check_names(name, self._names, lambda label: origins[places[label]], separators, self._advice)
        if self._missing:
            spellings = ", ".join(f"'{spelling}' ({count})" for spelling, count in self._missing.most_common(5))
            warnings += (f"{name}: {spellings} among the tags count as missing values, not as labels",)
        if self._untagged and self._options.untagged == UNKNOWN:
            warnings += (
                f"{name}: {self._untagged} of {len(self._rows)} images have no tags and count as not annotated: they "
                "are left out of training and scores; with ?empty=absent they count as images without any label",
            )
        return warnings

    def _label_space(self, name: str) -> LabelSpace:
        if self._sidecar is not None:
            return self._sidecar.label_space
        names = self._fixed
        if names is None:
            names = sorted(self._names) if self._tagged else self._names
            if not names:
                raise TagformerError(f"{name} has no labels: no image has a tag, and no column is a label.")
        try:
            return LabelSpace(tuple(names))
        except TagformerError as error:
            raise TagformerError(f"{name}: {error}") from error
