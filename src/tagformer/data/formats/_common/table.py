"""What CSV, JSON lines and Parquet share: rows of a path, labels and perhaps a split, collected into a data set."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tagformer.data.columns import Files, Origins, RowsBuilder, Strings
from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.errors import TagformerError, did_you_mean
from tagformer.files import read_json
from tagformer.images.source import ImageSource
from tagformer.labels.space import LabelSpace

PATH_COLUMNS = ("path", "image", "file", "filename")
TAG_COLUMNS = ("tags", "labels")
SIDECAR = "labels.json"


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
        path: the image's path, as written; "" for an image that is no file of its own.
        cells: label -> state, where this row says something.
        rest: state of the labels that the row does not name.
        tagged: the row is a list of tags, so labels it does not name are absent if it names any.
        split: train, val, test, or nothing.
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
        word: what the numbers of the rows count, for messages.
        sidecar: the file that may hold the label space; None: labels.json beside the first of the files.
    """

    def __init__(self, word: str = "line", sidecar: Path | None = None) -> None:
        self._word, self._sidecar = word, sidecar
        self._files: list[Path] = []
        self._columns: dict[str, int] = {}
        self._first: list[int] = []  # the row in which each of the columns was seen first
        self._tagged = True
        self._own_ids = False
        self._paths, self._ids, self._rows = Strings(), Strings(), RowsBuilder()
        self._splits, self._which, self._numbers = array("b"), array("i"), array("q")

    def read(self, file: Path, rows: Iterable[Row], split: str = "") -> None:
        """Take the rows of one file.

        Args:
            split: the one that the file is for; "" where its rows may be of several, or of none.

        Raises:
            TagformerError: there are none, or one is of another split.
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
        columns = self._columns
        for name in row.cells:
            if name not in columns:
                columns[name] = len(columns)
                self._first.append(len(self._rows))
        self._tagged = self._tagged and row.tagged
        self._own_ids = self._own_ids or row.id is not None
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
        """The data set of one split (or ``all``).

        Args:
            folder: what the paths are relative to.
            names: the labels in their order, where no labels.json says them; None: those that were seen, in
                alphabetical order where all rows are lists of tags.
            images: the image of each row; None: the files that the paths name.

        Raises:
            TagformerError: an image named twice, no labels, a label that labels.json or `names` does not have, or rows
                with and rows without a split.
        """
        origins = Origins(self._files, np.array(self._which), np.array(self._numbers), self._word)
        ids = self._ids if self._own_ids else self._paths
        _refuse_twins(ids, origins, "id" if self._own_ids else "image")
        splits = np.array(self._splits)
        if (splits < 0).any() and (splits >= 0).any():
            raise TagformerError(
                f"{origins[int(splits.argmin())]}: no split, but others have one: give all one, or none."
            )
        sidecar = Sidecar.read(self._sidecar or self._files[0].with_name(SIDECAR))
        label_space = sidecar.label_space if sidecar else self._label_space(name, names)
        known = set(label_space.names)
        for label, row in zip(self._columns, self._first, strict=True):
            if label not in known:
                where = f"in {sidecar.file}" if sidecar else f"among the {len(label_space)} labels"
                raise TagformerError(
                    f"{origins[row]}: label '{label}' is not {where}: mend the name, or add it there"
                    f"{did_you_mean(label, label_space.names)}."
                )
        places = [label_space.index(label) for label in self._columns]
        dataset = MultiLabelDataset(
            name=name,
            label_space=label_space,
            images=Files(folder, self._paths) if images is None else images,
            labels=self._rows.build(len(label_space), places),
            ids=ids,
            origins=origins,
            exhaustive=self._tagged if sidecar is None or sidecar.exhaustive is None else sidecar.exhaustive,
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


@dataclass(frozen=True)
class Sidecar:
    """What a labels.json beside a table says: ``{"names": [...], "groups": {...}, "extra": [...]}``.

    Attributes:
        exhaustive: see `MultiLabelDataset`; None where the file does not say.
    """

    file: Path
    label_space: LabelSpace
    exhaustive: bool | None

    @classmethod
    def read(cls, file: Path) -> Sidecar | None:
        """None where there is no such file.

        Raises:
            TagformerError: it is not JSON, or not of this form.
        """
        if not file.is_file():
            return None
        content = read_json(file)
        if not isinstance(content, dict) or not _are_names(content.get("names")):
            raise TagformerError(f"{file} has no list 'names': give the labels as {{\"names\": [...]}}.")
        groups, extra = content.get("groups", {}), content.get("extra", [])
        if not isinstance(groups, dict) or not all(map(_are_names, groups.values())):
            raise TagformerError(f"{file}: 'groups' must give each group a list of labels.")
        if not _are_names(extra):
            raise TagformerError(f"{file}: 'extra' must be a list of labels.")
        exhaustive = content.get("exhaustive")
        if exhaustive is not None and not isinstance(exhaustive, bool):
            raise TagformerError(f"{file}: 'exhaustive' must be true or false.")
        try:
            return cls(file, LabelSpace.from_dict(content), exhaustive)
        except TagformerError as error:
            raise TagformerError(f"{file}: {error}") from error


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _refuse_twins(ids: Strings, origins: Origins, word: str) -> None:
    hashes = np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))
    if len(np.unique(hashes)) == len(ids):
        return
    first: dict[str, int] = {}
    for row, image_id in enumerate(ids):
        if image_id in first:
            raise TagformerError(
                f"{origins[row]}: {word} '{image_id}' stands already in {origins[first[image_id]]}: "
                "write each image once, with all its labels."
            )
        first[image_id] = row


# What CSV and JSON lines share: one text file, or a folder of one for each split


def _whole(path: Path, suffix: str) -> Path:
    """The file ``all`` of a folder that has no split files, as data without splits are written; otherwise `path`."""
    whole = path / f"all{suffix}"
    return whole if whole.is_file() and not any((path / f"{split}{suffix}").is_file() for split in SPLITS) else path


def splits_of(path: Path, suffix: str, named: Callable[[Path], Iterator[str]]) -> tuple[str, ...]:
    """The split files of a folder, or the splits that a file's rows name; () where there is neither.

    Args:
        named: gives the split of each row of a file.
    """
    path = _whole(path, suffix)
    if path.is_dir():
        return tuple(file.stem for file in split_files(path, suffix))
    present = set(named(path))
    return tuple(split for split in SPLITS if split in present)


def load_table(
    path: Path, split: str, suffix: str, read: Callable[[Path], Iterator[Row]], images: str | None
) -> MultiLabelDataset:
    """The data set in one file or in a folder's split files, whose splits share one label space.

    Args:
        read: gives the rows of a file.
        images: folder that the paths are relative to; None: that of the files.

    Raises:
        TagformerError: what `read` raises, `Table.read` and `Table.build`.
    """
    table, path = Table(), _whole(path, suffix)
    for file in split_files(path, suffix):
        table.read(file, read(file), split=file.stem if path.is_dir() else "")
    own = path if path.is_dir() else path.parent
    return table.build(str(path), own if images is None else Path(images), split)
