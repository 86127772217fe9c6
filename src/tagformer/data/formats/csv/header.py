"""The meaning of the columns of a CSV file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tagformer.data.formats._common.cells import is_missing, split_tags
from tagformer.data.formats._common.options import UNNAMED, list_option, not_used
from tagformer.data.formats._common.table import PATH_COLUMNS, TAG_COLUMNS, Row, row_split
from tagformer.errors import TagformerError, did_you_mean
from tagformer.labels.names import plain_name
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN

STATES = {
    "1": PRESENT,
    "1.0": PRESENT,
    "0": ABSENT,
    "0.0": ABSENT,
    "": UNKNOWN,
    "-1": UNKNOWN,
    "-1.0": UNKNOWN,
}
# TRUE and FALSE as spreadsheets write them in English, German, French, Spanish, Portuguese, Italian and Dutch.
TRUE_WORDS = frozenset({"true", "wahr", "vrai", "verdadero", "verdadeiro", "vero", "waar"})
FALSE_WORDS = frozenset({"false", "falsch", "faux", "falso", "onwaar"})
NUMBER = re.compile(r"[+-]?[01](?:[.,]0*)?(?:e[+-]?0+)?", re.IGNORECASE)


def read_state(cell: str) -> int | None:
    """The state that a cell of a label's column means; None where it means none.

    >>> read_state("TRUE"), read_state("0,0"), read_state("NaN"), read_state("3")
    (1, 0, -1, None)
    """
    if cell in STATES:
        return STATES[cell]
    word = cell.casefold()
    if word in TRUE_WORDS:
        return PRESENT
    if word in FALSE_WORDS:
        return ABSENT
    if is_missing(cell):
        return UNKNOWN
    if NUMBER.fullmatch(cell):
        return int(float(cell.replace(",", ".")))
    return None


@dataclass(frozen=True)
class Header:
    """The meaning of the columns of one CSV file; None where there is no such column.

    Attributes:
        width: the number of columns.
        path, id, tags, split: their positions.
        labels: position -> label, for one column per label.
        unnamed: the positions of columns without a name, whose cells must be empty.
        separator: what separates the names in a cell of tags.
        delimiter: what separates the columns.
        states: a cell of a label's column -> its state, of all cells that were read so far.
        warnings: what is not used.
    """

    file: Path
    width: int
    path: int
    id: int | None
    tags: int | None
    split: int | None
    labels: dict[int, str]
    unnamed: tuple[int, ...]
    separator: str
    delimiter: str
    states: dict[str, int]
    warnings: tuple[str, ...]

    @classmethod
    def parse(
        cls, file: Path, cells: Sequence[str], options: Mapping[str, str], delimiter: str, separator: str, line: int
    ) -> Header:
        """Find the columns by their names and by the options.

        Raises:
            TagformerError: a duplicate column, no paths, no labels, or an option that names no column.
        """
        origin = f"{file}, line {line}"
        names = [plain_name(cell) for cell in cells]
        positions: dict[str, int] = {}
        for position, name in enumerate(names):
            if name and positions.setdefault(name, position) != position:
                raise TagformerError(f"{origin}: duplicate column '{name}': rename or remove one.")
        path = _find(origin, positions, options.get("path"), PATH_COLUMNS)
        if path is None:
            raise TagformerError(
                f"{origin}: no column of image paths among {_listed(names)}: "
                f"call it '{PATH_COLUMNS[0]}', or name it with {file}?path=COLUMN."
            )
        chosen, ignored = list_option(options, "labels"), list_option(options, "ignore") or ()
        for name in (*(chosen or ()), *ignored):
            _find(origin, positions, plain_name(name), ())
        tags = None if chosen is not None else _find(origin, positions, options.get("tags"), TAG_COLUMNS)
        id_ = _find(origin, positions, options.get("id"), ("id",))
        if id_ is not None and "id" not in options:
            beside_path = names[path] == "path" and (tags is not None or id_ + 1 == path)
            id_ = id_ if beside_path else None
        split = next((column for column, name in enumerate(names) if name.lower() == "split"), None)
        rows = [i for i, name in enumerate(names) if UNNAMED.fullmatch(name) and i not in (path, id_, tags)]
        row_numbers = [i for i in rows if i == 0 or names[i]]
        left = {plain_name(name) for name in ignored}
        others = {
            i: name for i, name in enumerate(names) if i not in {path, id_, split, tags, *rows} and name not in left
        }
        labels = {} if tags is not None else others
        if chosen is not None:
            labels = {positions[plain_name(name)]: plain_name(name) for name in chosen}
        if tags is None and not labels:
            raise TagformerError(f"{origin}: no labels: add a column 'tags', or one column per label.")
        unused = [name for i, name in others.items() if i not in labels]
        warnings = _notes(file, [names[i] for i in row_numbers], unused)
        unnamed = tuple(i for i in rows if i not in row_numbers)
        return cls(
            file, len(names), path, id_, tags, split, labels, unnamed, separator, delimiter, dict(STATES), warnings
        )

    def row(self, cells: list[str], line: int) -> Row:
        """The row in a line.

        Raises:
            TagformerError: another number of cells than columns, no path, no id, a cell that is not a state.
        """
        origin = f"{self.file}, line {line}"
        if len(cells) != self.width:
            shown = {"\t": "tabs", ",": "commas"}.get(self.delimiter, f"'{self.delimiter}'")
            raise TagformerError(
                f"{origin}: {len(cells)} cells where the header has {self.width}: quote {shown} in names."
            )
        path = cells[self.path].strip()
        if not path:
            raise TagformerError(f"{origin}: no image path.")
        image_id = None if self.id is None else cells[self.id].strip()
        if image_id == "":
            raise TagformerError(f"{origin}: no id.")
        split = row_split(None if self.split is None else cells[self.split].strip(), self.file, origin)
        for column in self.unnamed:
            if cells[column].strip():
                raise TagformerError(
                    f"{origin}: '{cells[column].strip()}' in column {column + 1}, which has no name in line 1: name it."
                )
        if self.tags is not None:
            cell = cells[self.tags].strip()
            names = dict.fromkeys(split_tags(cell, self.separator), PRESENT)
            return Row(path, names, ABSENT if cell else UNKNOWN, True, split, line, image_id)
        known, states = self.states, {}
        for column, name in self.labels.items():
            cell = cells[column]
            if cell not in known:
                state = read_state(cell.strip())
                if state is None:
                    raise NotAStateError(column, cell.strip(), line)
                known[cell] = state
            states[name] = known[cell]
        return Row(path, states, UNKNOWN, False, split, line, image_id)


class NotAStateError(Exception):
    """A cell of a label's column that is not a state: the position of the column, the cell, and its line."""

    def __init__(self, column: int, cell: str, line: int) -> None:
        super().__init__(cell)
        self.column, self.cell, self.line = column, cell, line


def not_labels_error(header: Header, error: NotAStateError, columns: Sequence[int]) -> TagformerError:
    """The message for columns that are not labels.

    Args:
        error: the first such cell.
        columns: all columns with such cells in the lines that were looked at.
    """
    names = [header.labels[column] for column in columns]
    origin = f"{header.file}, line {error.line}, column '{header.labels[error.column]}': '{error.cell[:60]}'"
    quoted = ",".join(f'"{name}"' if "," in name else name for name in names)
    if len(header.labels) == len(names):
        advice = f"if it is a column of names, read it with ?tags={names[0]}"
        return TagformerError(f"{origin}: use 1, 0 or an empty cell; {advice}.")
    these = "this column is not a label, leave it"
    if len(names) > 1:
        these = f"these {len(names)} columns are not labels, leave them"
    return TagformerError(
        f"{origin}: use 1, 0 or an empty cell; if {these} out with ?ignore={quoted}, choose the labels with "
        "?labels=A,B, or name a column of tags with ?tags=COLUMN."
    )


def _notes(file: Path, row_numbers: Sequence[str], unused: Sequence[str]) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if row_numbers:
        shown = (
            f"{len(row_numbers)} columns without a name are" if len(row_numbers) > 1 else "1 column without a name is"
        )
        notes += (f"{file}: {shown} passed over, as pandas writes row numbers",)
    return notes + not_used(file, unused)


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(name[:60] for name in names[:most]) + (", ..." if len(names) > most else "")


def find_path_column(names: Sequence[str], requested: str | None) -> bool:
    """Whether the cells of a first line have a column of paths."""
    plain = {plain_name(name) for name in names}
    if requested is not None:
        return plain_name(requested) in plain
    return not plain.isdisjoint(PATH_COLUMNS) or not {name.casefold() for name in plain}.isdisjoint(PATH_COLUMNS)


def _find(origin: str, positions: Mapping[str, int], requested: str | None, defaults: Sequence[str]) -> int | None:
    """The position of the column that an option names, or else of the first of its default names, in any case."""
    if requested is not None:
        name = plain_name(requested)
        if name not in positions:
            raise TagformerError(f"{origin}: no column '{requested}'{did_you_mean(requested, positions)}.")
        return positions[name]
    folded: dict[str, int] = {}
    for name, position in positions.items():
        folded.setdefault(name.casefold(), position)
    for names in (positions, folded):
        for default in defaults:
            if default in names:
                return names[default]
    return None
