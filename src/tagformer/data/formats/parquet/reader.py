"""Reading Parquet: one row per image, with its path or the encoded image itself, as Hugging Face's data sets have it.

Labels are lists of names (the columns ``tags``, ``present``, ``absent``, ``unknown``; see `jsonl`), or lists of class
indices whose names are in the file's Hugging Face metadata, or one column per label with 1, 0 or null.

An id is the cell of ``id`` (text, or whole numbers wider than a label's 8 bits), otherwise the path; an image stored
in the file without either is named after its file and row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.annotation import STATES, checked_id, class_names, read_annotation
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.options import COLUMN_OPTIONS, TAG_OPTIONS, TagOptions
from tagformer.data.formats._common.split_files import SplitFile, list_folder
from tagformer.data.formats._common.stored import Cells
from tagformer.data.formats._common.table import Row, Table, row_split
from tagformer.data.formats._common.text_table import rows_in_folder
from tagformer.data.formats.parquet.columns import Columns, open_parquet
from tagformer.data.formats.parquet.images import ParquetColumn
from tagformer.data.formats.parquet.writer import ParquetWriter
from tagformer.data.splits import split_of_name
from tagformer.errors import TagformerError
from tagformer.labels.space import UNKNOWN

NAME = re.compile(r"([A-Za-z]+)(?:-(\d+)-of-(\d+)(?:-[0-9a-f]+)?)?\.parquet")


class ParquetFormat(Format):
    """A Parquet file, or a folder of them; see the module's text.

    >>> ParquetFormat().suffixes
    ('.parquet',)
    """

    layout = (
        "FILE.parquet, or a folder (or its data/) with {train,val,test}.parquet or {train,validation,test}-00000-of-"
        "00002.parquet ...; image paths are relative to it; perhaps labels.json beside it"
    )
    options: ClassVar[Mapping[str, str]] = {
        "path": "name of the column of image paths (default: path, image, file, filename or file_name)",
        "image": "name of the column of encoded images (default: image, or the only one of that type)",
        "tags": "name of the column of tags or class indices (default: tags or labels)",
        **TAG_OPTIONS,
        **COLUMN_OPTIONS,
        "id": "name of the column of ids (default: id, where it holds text or numbers wider than 8 bits)",
        "images": "folder that the paths are relative to (default: the folder of the file)",
    }
    path_options = ("images",)
    suffixes = (".parquet",)
    writer = ParquetWriter

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """The splits of a folder's files, or the values of a file's column ``split``; () where there is neither.

        Raises:
            TagformerError: as `load`.
        """
        if path.is_dir():
            present = {split for _, split in _files(path)}
        else:
            present = {row.split for row in _rows(Columns.read(*_files(path)[0], options), None)}
        return tuple(split for split in SPLITS if split in present)

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: no Parquet file, a column that is missing or of another type, a value that is not a state,
                a class index without a name, a duplicate image, no images; the message names the file and the row.
        """
        files = _files(path)
        in_folders = path.is_dir() and files[0][0].parent not in (path, path / "data")
        root = files[0][0].parent.parent if in_folders else files[0][0].parent
        folder = Path(options["images"]) if "images" in options else root
        tables = [Columns.read(file, file_split, options) for file, file_split in files]
        tags, first = TagOptions.parse(options), tables[0]
        advice = "choose the column of names with ?tags=COLUMN"
        table = Table("row", names=first.classes, options=tags, advice=advice, text=first.text)
        for columns in tables:
            if columns.classes != first.classes or (columns.image is None) != (first.image is None):
                raise TagformerError(
                    f"{columns.file} and {first.file} have different columns or class names: write them alike."
                )
            rows = _rows(columns, tags.separator)
            if in_folders and first.image is None:
                entry = SplitFile(columns.file, columns.file_split, columns.file.parent.name)
                rows = rows_in_folder(rows, entry, folder)
            table.read(columns.file, rows, split=columns.file_split if path.is_dir() else "")
        images = None
        if first.image is not None:
            sources = [ParquetColumn(columns.file, columns.image or "", folder) for columns in tables]
            images = Cells.concatenated(sources, [columns.rows for columns in tables])
        dataset = table.build(str(path), folder, split, images)
        notes = dict.fromkeys(note for columns in tables for note in columns.notes)
        return dataset.replace(warnings=(*notes, *dataset.warnings))


def _files(path: Path) -> list[tuple[Path, str]]:
    """The Parquet files and the split in the name of each; "" where there is none."""
    if not path.is_dir():
        match = _match(path.name)
        return [(path, _split(match[1]) if match else "")]
    for folder in (path, path / "data"):
        if not folder.is_dir():
            continue
        names, folders = list_folder(folder)
        matches = [match for name in names if (match := _match(name))]
        _check_parts(folder, matches)
        files = [(folder / match[0], _split(match[1])) for match in matches]
        if not files:
            for name in filter(split_of_name, folders):
                inside = [file for file in list_folder(folder / name)[0] if file.endswith(".parquet")]
                files += [(folder / name / file, _split(name)) for file in inside]
        if files:
            return sorted(files, key=lambda item: (("", *SPLITS).index(item[1]), item[0]))
    raise TagformerError(f"{path} has no train.parquet, val.parquet, test.parquet or train-00000-of-00001.parquet.")


def _match(name: str) -> re.Match[str] | None:
    """The parts of a file's name that begins with a split or with ``all``; None for any other name."""
    match = NAME.fullmatch(name)
    return match if match and (match[1] == "all" or split_of_name(match[1])) else None


def _check_parts(folder: Path, matches: Sequence[re.Match[str]]) -> None:
    """
    Raises:
        TagformerError: some of the parts of a split are missing, or one split has two names.
    """
    words: dict[str, str] = {}
    for match in matches:
        parts = [part for part in matches if (part[1], part[3]) == (match[1], match[3])]
        if match[3] and len(parts) != int(match[3]):
            raise TagformerError(
                f"{folder} has {len(parts)} of the {int(match[3])} files of '{match[1]}' that {match[0]} belongs "
                "to: fetch the missing ones, and remove those of another version."
            )
        if words.setdefault(_split(match[1]), match[1]) != match[1]:
            raise TagformerError(
                f"{folder} has files of '{match[1]}' and of '{words[_split(match[1])]}', which are the same split: "
                "remove or rename one of them."
            )


def _split(word: str) -> str:
    return split_of_name(word) or ""  # "all": data without splits


def _rows(columns: Columns, separator: str | None) -> Iterator[Row]:
    """The rows of one file."""
    special = [name for name in (columns.path, columns.id, columns.split) if name]
    names = [*special, *columns.lists.values(), *columns.labels]
    number = 0
    try:
        with open_parquet(columns.file) as opened:
            for batch in opened.iter_batches(4096, columns=names):
                cells = {name: batch.column(name).to_pylist() for name in names}
                for i in range(len(batch)):
                    number += 1
                    yield _row(columns, {name: values[i] for name, values in cells.items()}, number, separator)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise TagformerError(
            f"cannot read {columns.file} after row {number} ({reason}): write or fetch it again."
        ) from error


def _row(columns: Columns, cells: Mapping[str, Any], number: int, separator: str | None) -> Row:
    origin = f"{columns.file}, row {number}"
    path = cells[columns.path] if columns.path else None
    if not path and columns.image is None:
        raise TagformerError(f"{origin}: no image path.")
    image_id = checked_id(cells[columns.id], origin) if columns.id else None
    if image_id is None and not path:
        image_id = f"{columns.file.name}:{number}"
    split = columns.file_split
    if columns.split and cells[columns.split]:
        split = row_split(cells[columns.split], columns.file, origin)
    if not columns.lists:
        return Row(path or "", _states(columns, cells, origin), UNKNOWN, False, split, number, image_id)
    annotation = {key: cells[column] for key, column in columns.lists.items()}
    if columns.text:
        separator = separator or ";"
    if columns.classes is not None and annotation["tags"] is not None:
        annotation["tags"] = class_names(annotation["tags"], columns.classes, origin)
    labels, rest, tagged = read_annotation(annotation, origin, None if columns.classes else separator)
    return Row(path or "", labels, rest, tagged, split, number, image_id)


def _states(columns: Columns, cells: Mapping[str, Any], origin: str) -> dict[str, int]:
    """The states in the columns that are a label each; NaN is how pandas writes null."""
    states = {}
    for name in columns.labels:
        value = cells[name]
        if value not in STATES and value == value:
            raise TagformerError(f"{origin}, column '{name}': {value}: use 1, 0 or null.")
        states[name] = STATES.get(value, UNKNOWN)
    return states
