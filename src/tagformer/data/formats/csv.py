"""Tables: a CSV file with a column of paths, and either one column of tags or one column a label.

Tags stand in one cell, separated by ``;``. A backslash keeps a separator within a name: ``black\\;white``. With one
column a label a cell is 1 (present), 0 (absent) or empty (unknown). An empty cell of tags means that the image was
not annotated; an image with no tags at all is written ``;``. The images' ids are their paths, or the cells of a column
``id``: beside tags it may stand anywhere, but with one column a label it must stand directly before ``path``, since
elsewhere it is a label.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.options import chosen
from tagformer.data.formats._common.table import PATH_COLUMNS, TAG_COLUMNS, Row, checked_split, load_table, splits_of
from tagformer.errors import TagformerError, did_you_mean
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN

TREE = (
    "FILE.csv, or a folder with train.csv, test.csv and perhaps val.csv; image paths are relative to the CSV; "
    "perhaps labels.json beside it"
)
OPTIONS = {
    "path": "name of the column of image paths (default: path, image, file or filename)",
    "tags": "name of the column of tags (default: tags or labels)",
    "id": "name of the column of ids (default: id beside a column path; without one the path)",
    "empty": "what an empty cell of tags means: unknown (default) or absent",
    "images": "folder that the paths are relative to (default: the folder of the CSV)",
}
CELLS = {
    "1": PRESENT,
    "1.0": PRESENT,
    "0": ABSENT,
    "0.0": ABSENT,
    "": UNKNOWN,
    "-1": UNKNOWN,
    "-1.0": UNKNOWN,
}


def join_tags(names: Sequence[str]) -> str:
    """The names as one cell, ``;`` between them; ``;`` alone for none."""
    return ";".join(name.replace("\\", "\\\\").replace(";", "\\;") for name in names) or ";"


def split_tags(cell: str) -> list[str]:
    """The names in a cell that `join_tags` wrote."""
    if "\\" not in cell:
        return [name for part in cell.split(";") if (name := part.strip())]
    parts = re.findall(r"((?:\\.|[^;])*)(?:;|$)", cell)
    return [name for part in parts if (name := re.sub(r"\\([;\\])", r"\1", part).strip())]


def splits(path: Path | None, options: dict[str, str]) -> tuple[str, ...]:
    """The split files of a folder, or the values of a file's ``split`` column; () where there is neither."""
    assert path is not None
    return splits_of(path, ".csv", lambda file: _splits_in(file, options))


def load(path: Path | None, split: str, options: dict[str, str]) -> MultiLabelDataset:
    """Load a CSV file or a folder of them; see the module's text.

    The label space is that of labels.json or, without one, that of all the splits together, in alphabetical order for
    tags and in the columns' order otherwise, so that every split has the same columns.

    Raises:
        TagformerError: a missing column, a cell that is not 1, 0 or empty, a row of another length, an image named
            twice, no images; the message names the file and the line.
    """
    assert path is not None
    return load_table(path, split, ".csv", lambda file: _read(file, options), options.get("images"))


def _splits_in(file: Path, options: dict[str, str]) -> Iterator[str]:
    """The split of each row; nothing where no column says it."""
    for layout, cells, _ in _lines(file, options):
        if layout.split is None:
            return
        if layout.split < len(cells):
            yield cells[layout.split].strip()


def _read(file: Path, options: dict[str, str]) -> Iterator[Row]:
    """The rows of one CSV file."""
    for layout, cells, line in _lines(file, options):
        yield layout.row(cells, line)


def _lines(file: Path, options: dict[str, str]) -> Iterator[tuple[_Layout, list[str], int]]:
    """The cells of each line that is not empty, with what they mean and its number."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, None)
            if header is None:
                raise TagformerError(f"{file} is empty: it needs a header and a line for each image.")
            layout = _Layout.of(file, header, options)
            for cells in reader:
                if cells:
                    yield layout, cells, reader.line_num
    except UnicodeDecodeError as error:
        raise TagformerError(f"{file} is not UTF-8 text: save it as a UTF-8 CSV.") from error
    except csv.Error as error:
        raise TagformerError(f"{file}, line {reader.line_num}: not a valid CSV line ({error}).") from error
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error


@dataclass(frozen=True)
class _Layout:
    """What the columns of one CSV file mean."""

    file: Path
    width: int
    path: int
    id: int | None
    tags: int | None
    split: int | None
    columns: dict[int, str]
    untagged: int  # state of all labels where the cell of tags is empty

    @classmethod
    def of(cls, file: Path, header: list[str], options: dict[str, str]) -> _Layout:
        header = [name.strip() for name in header]
        for name in header:
            if header.count(name) > 1:
                raise TagformerError(f"{file}, line 1: duplicate column '{name}': rename or remove one.")
        path = cls._find(file, header, options.get("path"), PATH_COLUMNS)
        if path is None:
            raise TagformerError(
                f"{file}, line 1: no column of image paths among {', '.join(header)}: "
                f"call it '{PATH_COLUMNS[0]}', or name it with {file}?path=COLUMN."
            )
        tags = cls._find(file, header, options.get("tags"), TAG_COLUMNS)
        own_id = cls._find(file, header, options.get("id"), ("id",))
        if own_id is not None and "id" not in options:
            beside_path = header[path] == "path" and (tags is not None or own_id + 1 == path)
            own_id = own_id if beside_path else None
        split = header.index("split") if "split" in header else None
        columns = {i: name for i, name in enumerate(header) if i not in (path, own_id, split)} if tags is None else {}
        if tags is None and not columns:
            raise TagformerError(f"{file}, line 1: no labels: add a column 'tags', or one column a label.")
        empty = chosen(options, {"empty": ("unknown", "absent")})["empty"]
        return cls(file, len(header), path, own_id, tags, split, columns, UNKNOWN if empty == "unknown" else ABSENT)

    @staticmethod
    def _find(file: Path, header: list[str], wanted: str | None, usual: Sequence[str]) -> int | None:
        if wanted is not None:
            if wanted not in header:
                raise TagformerError(f"{file}, line 1: no column '{wanted}'{did_you_mean(wanted, header)}.")
            return header.index(wanted)
        return next((header.index(name) for name in usual if name in header), None)

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
        split = checked_split(None if self.split is None else cells[self.split].strip(), self.file, origin)
        if self.tags is not None:
            cell = cells[self.tags].strip()
            rest = self.untagged if not cell else ABSENT
            return Row(path, dict.fromkeys(split_tags(cell), PRESENT), rest, True, split, line, image_id)
        states: dict[str, int] = {}
        for column, name in self.columns.items():
            value = cells[column].strip()
            if value not in CELLS:
                raise TagformerError(f"{origin}, column '{name}': '{value}': use 1, 0 or an empty cell.")
            states[name] = CELLS[value]
        return Row(path, states, UNKNOWN, False, split, line, image_id)
