"""CSV: a table with a column of image paths, and either one column of tags or one column per label.

Tags are in one cell, separated by ``;``. A backslash keeps a separator inside a name: ``black\\;white``. With one
column per label a cell is 1 (present), 0 (absent) or empty (unknown). An empty cell of tags means that the image was
not annotated; an image without any tags is written ``;``. An image's id is its path, or the cell of a column ``id``.
Beside tags that column may be anywhere; with one column per label it must come directly before ``path``, since
elsewhere it is a label.

A cell that a spreadsheet would run as a formula may have an apostrophe before it, as ``predict --out`` writes it:
``'=1+1`` is read as ``=1+1``, and ``''=1+1`` as ``'=1+1``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.options import choose
from tagformer.data.formats._common.table import PATH_COLUMNS, TAG_COLUMNS, Row, row_split
from tagformer.data.formats._common.text_table import load_table, table_splits
from tagformer.data.formats._common.writer import Item, Part, Staged, TextPart, Writer, append
from tagformer.errors import TagformerError, did_you_mean
from tagformer.files import check_regular
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.safe_text import data_cell, original_cell

SUFFIX = ".csv"
STATES = {
    "1": PRESENT,
    "1.0": PRESENT,
    "0": ABSENT,
    "0.0": ABSENT,
    "": UNKNOWN,
    "-1": UNKNOWN,
    "-1.0": UNKNOWN,
}
CELLS = {PRESENT: "1", ABSENT: "0", UNKNOWN: ""}
OTHER_FORMATS = "write jsonl, parquet, coco or shards"


def join_tags(names: Sequence[str]) -> str:
    """The names as one cell, separated by ``;``; a lone ``;`` for no names.

    >>> join_tags(["dog", "black;white"])
    'dog;black\\\\;white'
    """
    return ";".join(name.replace("\\", "\\\\").replace(";", "\\;") for name in names) or ";"


def split_tags(cell: str) -> list[str]:
    """The names in a cell that `join_tags` wrote.

    >>> split_tags("dog; cat;")
    ['dog', 'cat']
    """
    if "\\" not in cell:
        return [name for part in cell.split(";") if (name := part.strip())]
    parts = re.findall(r"((?:\\.|[^;])*)(?:;|$)", cell)
    return [name for part in parts if (name := re.sub(r"\\([;\\])", r"\1", part).strip())]


# Writing


class CsvWriter(Writer):
    """Writes SPLIT.csv with the columns id, path and tags, or one column per label where tags are not enough."""

    @classmethod
    def files(cls, split: str) -> tuple[str, ...]:
        return (f"{split}{SUFFIX}",)

    def check_names(self) -> None:
        super().check_names()
        reserved = () if self.job.tagged else ("id", "path", "split", *TAG_COLUMNS)
        for name in self.job.label_space.names:
            if name in reserved or not _fits(name):
                raise TagformerError(f"a CSV cannot hold the label {name!r} here: {OTHER_FORMATS}.")

    def check_id(self, image_id: str) -> None:
        super().check_id(image_id)
        if not _fits(image_id):
            raise TagformerError(f"a CSV cannot hold the id {image_id!r}: {OTHER_FORMATS}.")

    def open(self, file: Path, split: str) -> Part:
        return TextPart(file, lambda item: self._line(item, split))

    def _line(self, item: Item, split: str) -> str:
        labels = item.record.labels.tolist()
        cells = [CELLS[state] for state in labels]
        if self.job.tagged:
            names = self.job.label_space.names
            present = [name for name, state in zip(names, labels, strict=True) if state == PRESENT]
            cells = [join_tags(present) if UNKNOWN not in labels else ""]
        path = self.path(item.image, split)
        if not _fits(path):
            raise TagformerError(f"a CSV cannot hold the path {path!r}: rename the file, or {OTHER_FORMATS}.")
        return _csv_line([item.id, path, *cells])

    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        header = ["id", "path", *(["tags"] if self.job.tagged else self.job.label_space.names)]
        with staged(self.job.target / f"{split}{SUFFIX}") as file, file.open("wb") as stream:
            stream.write(_csv_line(header).encode())
            append(parts, stream)


def _fits(text: str) -> bool:
    """Whether a cell reads back as this text: the reader strips white space, and NUL ends a line."""
    return text == text.strip() and "\0" not in text


def _csv_line(cells: Sequence[str]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow([data_cell(cell) for cell in cells])
    return buffer.getvalue()


# Reading


class CsvFormat(Format):
    """A CSV file, or a folder with one per split; see the module's text.

    Without labels.json the labels are those of all the splits together: in alphabetical order for tags, otherwise in
    the order of the columns. So every split has the same labels.
    """

    layout = (
        "FILE.csv, or a folder with train.csv, test.csv and perhaps val.csv; image paths are relative to the CSV; "
        "perhaps labels.json beside it"
    )
    options: ClassVar[Mapping[str, str]] = {
        "path": "name of the column of image paths (default: path, image, file or filename)",
        "tags": "name of the column of tags (default: tags or labels)",
        "id": "name of the column of ids (default: id beside a column path; without one the path)",
        "empty": "what an empty cell of tags means: unknown (default) or absent",
        "images": "folder that the paths are relative to (default: the folder of the CSV)",
    }
    path_options = ("images",)
    suffixes = (SUFFIX,)
    writer = CsvWriter

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """The split files of a folder, or the values of a file's column ``split``; () where there is neither.

        Raises:
            TagformerError: as `load`, for the header and for the lines as CSV.
        """
        return table_splits(path, SUFFIX, lambda file: _row_splits(file, options))

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: a missing column, a cell that is not 1, 0 or empty, a row of another length, a duplicate
                image, no images; the message names the file and the line.
        """
        return load_table(path, split, SUFFIX, lambda file: _read(file, options), options.get("images"))


def _row_splits(file: Path, options: Mapping[str, str]) -> Iterator[str]:
    """The split of each row; nothing where there is no column for it."""
    for header, cells, _ in _lines(file, options):
        if header.split is None:
            return
        if header.split < len(cells):
            yield cells[header.split].strip()


def _read(file: Path, options: Mapping[str, str]) -> Iterator[Row]:
    """The rows of one CSV file."""
    for header, cells, line in _lines(file, options):
        yield header.row(cells, line)


def _lines(file: Path, options: Mapping[str, str]) -> Iterator[tuple[_Header, list[str], int]]:
    """The header, the cells and the number of each line that is not empty."""
    try:
        check_regular(file)
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            names = next(reader, None)
            if names is None:
                raise TagformerError(f"{file} is empty: it needs a header and a line for each image.")
            header = _Header.parse(file, [original_cell(name) for name in names], options)
            for cells in reader:
                if cells:
                    yield header, [original_cell(cell) if cell[:1] == "'" else cell for cell in cells], reader.line_num
    except UnicodeDecodeError as error:
        raise TagformerError(f"{file} is not UTF-8 text: save it as a UTF-8 CSV.") from error
    except csv.Error as error:
        raise TagformerError(f"{file}, line {reader.line_num}: not a valid CSV line ({error}).") from error
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error


@dataclass(frozen=True)
class _Header:
    """The meaning of the columns of one CSV file; None where there is no such column.

    Attributes:
        width: the number of columns.
        path, id, tags, split: their positions.
        labels: position -> label, for one column per label.
        untagged: the state of all labels where the cell of tags is empty.
    """

    file: Path
    width: int
    path: int
    id: int | None
    tags: int | None
    split: int | None
    labels: dict[int, str]
    untagged: int

    @classmethod
    def parse(cls, file: Path, names: list[str], options: Mapping[str, str]) -> _Header:
        names = [name.strip() for name in names]
        for name in names:
            if names.count(name) > 1:
                raise TagformerError(f"{file}, line 1: duplicate column '{name}': rename or remove one.")
        path = _find(file, names, options.get("path"), PATH_COLUMNS)
        if path is None:
            raise TagformerError(
                f"{file}, line 1: no column of image paths among {', '.join(names)}: "
                f"call it '{PATH_COLUMNS[0]}', or name it with {file}?path=COLUMN."
            )
        tags = _find(file, names, options.get("tags"), TAG_COLUMNS)
        id_ = _find(file, names, options.get("id"), ("id",))
        if id_ is not None and "id" not in options:
            beside_path = names[path] == "path" and (tags is not None or id_ + 1 == path)
            id_ = id_ if beside_path else None
        split = names.index("split") if "split" in names else None
        labels = {i: name for i, name in enumerate(names) if i not in (path, id_, split)} if tags is None else {}
        if tags is None and not labels:
            raise TagformerError(f"{file}, line 1: no labels: add a column 'tags', or one column per label.")
        empty = choose(options, {"empty": ("unknown", "absent")})["empty"]
        return cls(file, len(names), path, id_, tags, split, labels, UNKNOWN if empty == "unknown" else ABSENT)

    def row(self, cells: list[str], line: int) -> Row:
        origin = f"{self.file}, line {line}"
        if len(cells) != self.width:
            raise TagformerError(
                f"{origin}: {len(cells)} cells where the header has {self.width}: quote commas in names."
            )
        path = cells[self.path].strip()
        if not path:
            raise TagformerError(f"{origin}: no image path.")
        image_id = None if self.id is None else cells[self.id].strip()
        if image_id == "":
            raise TagformerError(f"{origin}: no id.")
        split = row_split(None if self.split is None else cells[self.split].strip(), self.file, origin)
        if self.tags is not None:
            cell = cells[self.tags].strip()
            rest = self.untagged if not cell else ABSENT
            return Row(path, dict.fromkeys(split_tags(cell), PRESENT), rest, True, split, line, image_id)
        states: dict[str, int] = {}
        for column, name in self.labels.items():
            cell = cells[column].strip()
            if cell not in STATES:
                raise TagformerError(f"{origin}, column '{name}': '{cell}': use 1, 0 or an empty cell.")
            states[name] = STATES[cell]
        return Row(path, states, UNKNOWN, False, split, line, image_id)


def _find(file: Path, names: list[str], requested: str | None, defaults: Sequence[str]) -> int | None:
    """The position of the column that an option names, or else of the first of its default names."""
    if requested is not None:
        if requested not in names:
            raise TagformerError(f"{file}, line 1: no column '{requested}'{did_you_mean(requested, names)}.")
        return names.index(requested)
    return next((names.index(name) for name in defaults if name in names), None)
