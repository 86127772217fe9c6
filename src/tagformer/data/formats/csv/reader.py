"""Reading CSV: a table with a column of image paths, and either one column of tags or one column per label.

Tags are in one cell, separated by ``;``. A backslash keeps a separator inside a name: ``black\\;white``. With one
column per label a cell is 1 (present), 0 (absent) or empty (unknown). An empty cell of tags means that the image was
not annotated; an image without any tags is written ``;``. An image's id is its path, or the cell of a column ``id``.
Beside tags that column may be anywhere; with one column per label it must come directly before ``path``, since
elsewhere it is a label. A table with one tag per row may name an image in several rows.

Columns are separated by ``,``, ``;``, tabs or ``|``, whichever makes the first line a header. The text is UTF-8, UTF-16
or Windows-1252.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.options import COLUMN_OPTIONS, TAG_OPTIONS, TagOptions
from tagformer.data.formats._common.table import Row
from tagformer.data.formats._common.text_table import load_table, table_splits
from tagformer.data.formats.csv.delimited import find_delimiter, find_encoding, read_lines
from tagformer.data.formats.csv.header import Header, NotAStateError, find_path_column, not_labels_error, read_state
from tagformer.data.formats.csv.writer import SUFFIX, CsvWriter
from tagformer.errors import TagformerError

EXAMINED = 1000  # lines in which columns that are not labels are looked for, once there is one
NUMBERS_ADVICE = (
    "choose the column of names with ?tags=COLUMN, or leave ?tags= out where each label has a column with 1 and 0"
)


class CsvFormat(Format):
    """A CSV file, or a folder with one per split; see the module's text.

    Without labels.json the labels are those of all the splits together: in alphabetical order for tags, otherwise in
    the order of the columns. So every split has the same labels.

    >>> CsvFormat().suffixes
    ('.csv', '.tsv')
    """

    layout = (
        "FILE.csv, or a folder with train.csv, test.csv and perhaps val.csv, or with one CSV in each of train/, test/ "
        "and perhaps val/; image paths are relative to the CSV; "
        "perhaps labels.json beside it"
    )
    options: ClassVar[Mapping[str, str]] = {
        "path": "name of the column of image paths (default: path, image, file, filename or file_name)",
        "tags": "name of the column of tags (default: tags or labels)",
        "id": "name of the column of ids (default: id beside a column path; without one the path)",
        **TAG_OPTIONS,
        **COLUMN_OPTIONS,
        "images": "folder that the paths are relative to (default: the folder of the CSV)",
        "encoding": "of the text (default: UTF-8, UTF-16 or Windows-1252, as the file is)",
    }
    path_options = ("images",)
    suffixes = (SUFFIX, ".tsv")
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
                image, cells of tags that are not separated, no images; the message names the file and the line.
        """
        notes: list[str] = []
        dataset = load_table(
            path,
            split,
            SUFFIX,
            lambda file: _read(file, options, notes),
            options.get("images"),
            TagOptions.parse(options),
            NUMBERS_ADVICE,
            text=True,
        )
        return dataset.replace(warnings=(*dict.fromkeys(notes), *dataset.warnings))


def _row_splits(file: Path, options: Mapping[str, str]) -> Iterator[str]:
    """The split of each row; nothing where there is no column for it."""
    for header, cells, _ in _lines(file, options, []):
        if header.split is None:
            return
        if header.split < len(cells):
            yield cells[header.split].strip()


def _read(file: Path, options: Mapping[str, str], notes: list[str]) -> Iterator[Row]:
    """The rows of one CSV file."""
    lines = _lines(file, options, notes)
    for header, cells, line in lines:
        try:
            yield header.row(cells, line)
        except NotAStateError as error:
            examined = [cells, *(more for _, (_, more, _) in zip(range(EXAMINED), lines, strict=False))]
            columns = [column for column in header.labels if _has_other_cells(column, examined)]
            raise not_labels_error(header, error, columns) from error


def _has_other_cells(column: int, lines: list[list[str]]) -> bool:
    """Whether a column has a cell that is not a state."""
    return any(column < len(cells) and read_state(cells[column].strip()) is None for cells in lines)


def _lines(file: Path, options: Mapping[str, str], notes: list[str]) -> Iterator[tuple[Header, list[str], int]]:
    """The header, the cells and the number of each line that is not empty.

    Args:
        notes: what is noticed about the file is added to it.
    """
    encoding = _named_encoding(options["encoding"]) if "encoding" in options else find_encoding(file)
    requested = options.get("path")
    delimiter = find_delimiter(file, encoding, lambda cells: find_path_column(cells, requested))
    lines = read_lines(file, encoding, delimiter)
    first = next(lines, None)
    if first is None:
        raise TagformerError(f"{file} is empty: it needs a header and a line for each image.")
    separator = TagOptions.parse(options).separator or ";"
    header = Header.parse(file, first[0], options, delimiter, separator, first[1])
    if encoding == "cp1252" and "encoding" not in options:
        notes.append(
            f"{file} is not UTF-8 and is read as Windows-1252: check names with accents, or give ?encoding=NAME"
        )
    notes += header.warnings
    for cells, line in lines:
        yield header, cells, line


def _named_encoding(name: str) -> str:
    """
    Raises:
        TagformerError: there is no such encoding of text.
    """
    try:
        if codecs.lookup(name).name == "utf-8":
            return "utf-8-sig"
        "".encode(name)
    except (LookupError, ValueError, TypeError) as error:
        raise TagformerError(
            f"option encoding={name}: no such encoding: use utf-8, cp1252, utf-16, gbk or another."
        ) from error
    return name
