"""Parquet: a row an image, with its path or the encoded image itself, as Hugging Face's data sets have it.

Labels are lists of names (the columns ``tags``, ``present``, ``absent``, ``unknown``; see `jsonl`), or lists of
class indices whose names stand in the file's Hugging Face metadata, or one column a label with 1, 0 or null.

An id is the cell of ``id`` (text, or whole numbers wider than a label's 8 bits), otherwise the path; an image stored
in the file without either is called after its file and row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.annotation import KEYS, STATES, checked_id, class_names, read_annotation
from tagformer.data.formats._common.stored import Cells, ParquetColumn
from tagformer.data.formats._common.table import PATH_COLUMNS, TAG_COLUMNS, Row, Table, checked_split
from tagformer.errors import TagformerError, did_you_mean
from tagformer.labels.space import UNKNOWN

TREE = (
    "FILE.parquet, or a folder (or its data/) with {train,val,test}.parquet or {train,validation,test}-00000-of-00002."
    "parquet ...; image paths are relative to it; perhaps labels.json beside it"
)
OPTIONS = {
    "path": "name of the column of image paths (default: path, image, file or filename)",
    "image": "name of the column of encoded images (default: image, or the only one of that type)",
    "tags": "name of the column of tags or class indices (default: tags or labels)",
    "id": "name of the column of ids (default: id, where it holds text or numbers wider than 8 bits)",
    "images": "folder that the paths are relative to (default: the folder of the file)",
}
NAME = re.compile(r"(train|val|validation|test|all)(?:-(\d+)-of-(\d+)(?:-[0-9a-f]+)?)?\.parquet")


def splits(path: Path | None, options: dict[str, str]) -> tuple[str, ...]:
    """The splits of a folder's files, or the values of a file's column ``split``; () where there is neither."""
    assert path is not None
    if path.is_dir():
        found = {split for _, split in _files(path)}
    else:
        found = {row.split for row in _rows(_Layout.of(*_files(path)[0], options))}
    return tuple(split for split in SPLITS if split in found)


def load(path: Path | None, split: str, options: dict[str, str]) -> MultiLabelDataset:
    """Load a Parquet file or a folder of them; see the module's text.

    Raises:
        TagformerError: no Parquet file, a missing column or one of another type, a value that is no state, a class
            index without a name, an image named twice, no images; the message names the file and the row.
    """
    assert path is not None
    files = _files(path)
    folder = Path(options["images"]) if "images" in options else files[0][0].parent
    layouts = [_Layout.of(file, own_split, options) for file, own_split in files]
    first, table = layouts[0], Table("row")
    for layout in layouts:
        if layout.classes != first.classes or (layout.image is None) != (first.image is None):
            raise TagformerError(f"{layout.file} has other columns or class names than {first.file}: write them alike.")
        table.read(layout.file, _rows(layout), split=layout.own_split if path.is_dir() else "")
    images = None
    if first.image is not None:
        images = Cells(
            [ParquetColumn(layout.file, layout.image or "", folder) for layout in layouts],
            np.repeat(np.arange(len(layouts)), [layout.rows for layout in layouts]),
            np.concatenate([np.arange(layout.rows) for layout in layouts]),
        )
    return table.build(str(path), folder, split, first.classes, images)


def _files(path: Path) -> list[tuple[Path, str]]:
    """The Parquet files and the split of each; "" where the name says none."""
    if not path.is_dir():
        match = NAME.fullmatch(path.name)
        return [(path, _split(match[1]) if match else "")]
    for folder in (path, path / "data"):
        matches = [match for file in sorted(folder.glob("*.parquet")) if (match := NAME.fullmatch(file.name))]
        for match in matches:
            parts = [other for other in matches if (other[1], other[3]) == (match[1], match[3])]
            if match[3] and len(parts) != int(match[3]):
                raise TagformerError(
                    f"{folder} has {len(parts)} files of {match[1]} where {match[0]} is one of {int(match[3])}: "
                    "fetch those that lack, and remove those of another version."
                )
        if matches:
            found = [(folder / match[0], _split(match[1])) for match in matches]
            return sorted(found, key=lambda item: (("", *SPLITS).index(item[1]), item[0]))
    raise TagformerError(f"{path} has no train.parquet, val.parquet, test.parquet or train-00000-of-00001.parquet.")


def _split(word: str) -> str:
    return {"validation": "val", "all": ""}.get(word, word)  # "all": data without splits


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise TagformerError(f"{file} is not a whole Parquet file ({reason}): write or fetch it again.") from error


# What the columns mean


@dataclass(frozen=True)
class _Layout:
    """What the columns of one Parquet file mean; None where there is no such column.

    Attributes:
        own_split: the split that the file's name says, or "".
        lists: what is said -> its column of names (or of class indices, for tags).
        columns: the names of the columns that are a label each.
        classes: the names of the class indices.
    """

    file: Path
    own_split: str
    rows: int
    path: str | None
    image: str | None
    id: str | None
    split: str | None
    lists: dict[str, str]
    columns: tuple[str, ...]
    classes: tuple[str, ...] | None

    @classmethod
    def of(cls, file: Path, own_split: str, options: dict[str, str]) -> _Layout:
        with _open(file) as opened:
            schema, rows = opened.schema_arrow, opened.metadata.num_rows
        fields = {field.name: field.type for field in schema}
        if len(fields) < len(schema.names):
            raise TagformerError(f"{file} has two columns of one name: rename or remove one.")

        def find(option: str, usual: Sequence[str], fits: Callable[[pa.DataType], bool], what: str) -> str | None:
            wanted = options.get(option)
            if wanted is None:
                return next((name for name in usual if name in fields and fits(fields[name])), None)
            if wanted not in fields:
                raise TagformerError(f"{file} has no column '{wanted}'{did_you_mean(wanted, fields)}.")
            if not fits(fields[wanted]):
                raise TagformerError(f"{file}: column '{wanted}' is of type {fields[wanted]}: it must be {what}.")
            return wanted

        stored = [name for name, kind in fields.items() if _is_image(kind)]
        image = find("image", ["image"], _is_image, "bytes, or a struct with bytes")
        if image is None and len(stored) > 1:
            raise TagformerError(f"{file} has several columns of images, {', '.join(stored)}: choose with ?image=NAME.")
        image = image or (stored[0] if stored else None)
        path = find("path", PATH_COLUMNS, _is_text, "text")
        if image is None and path is None:
            raise TagformerError(
                f"{file} has no column of image paths or images among {', '.join(fields)}: call it 'path', or name it "
                "with ?path=COLUMN or ?image=COLUMN."
            )
        own_id = find("id", ["id"], _is_id, "text or whole numbers")
        split = find("split", ["split"], _is_text, "text")
        tags = find("tags", TAG_COLUMNS, _is_list, "a list of text or of class indices")
        lists = {key: key for key in KEYS if key in fields and _is_list(fields[key], text_only=True)}
        lists |= {"tags": tags} if tags else {}
        classes = None
        if tags and types.is_integer(fields[tags].value_type):
            classes = _class_names(schema.metadata, tags)
            if classes is None:
                raise TagformerError(
                    f"{file}: column '{tags}' holds class indices, but the file's metadata has no names for them."
                )
        special = (path, image, own_id, split)
        columns = [name for name in fields if name not in special and not name.startswith("__index_level_")]
        for name in () if lists else columns:
            if not _is_state(fields[name]):
                raise TagformerError(
                    f"{file}: column '{name}' is of type {fields[name]}, but a label's column holds 1, 0 or null: "
                    "remove it, or name a column of tags with ?tags=COLUMN."
                )
        if not lists and not columns:
            raise TagformerError(f"{file} has no labels: add a column 'tags', or one column a label.")
        return cls(file, own_split, rows, path, image, own_id, split, lists, () if lists else tuple(columns), classes)


def _is_text(kind: pa.DataType) -> bool:
    own = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(own) or types.is_large_string(own))


def _is_image(kind: pa.DataType) -> bool:
    if types.is_struct(kind):
        return any(field.name == "bytes" and _is_image(field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_id(kind: pa.DataType) -> bool:
    return _is_text(kind) or (types.is_integer(kind) and kind.bit_width > 8)


def _is_list(kind: pa.DataType, text_only: bool = False) -> bool:
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return False
    return _is_text(kind.value_type) or (not text_only and types.is_integer(kind.value_type))


def _is_state(kind: pa.DataType) -> bool:
    return bool(types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind))


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> tuple[str, ...] | None:
    """The names that Hugging Face's metadata gives to a column's class indices."""
    try:
        feature = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
        return tuple(map(str, feature["names"]))
    except (KeyError, TypeError, ValueError, IndexError):
        return None


# Rows


def _rows(layout: _Layout) -> Iterator[Row]:
    """The rows of one file."""
    special = [name for name in (layout.path, layout.id, layout.split) if name]
    wanted = [*special, *layout.lists.values(), *layout.columns]
    number = 0
    try:
        with _open(layout.file) as opened:
            for batch in opened.iter_batches(4096, columns=wanted):
                cells = {name: batch.column(name).to_pylist() for name in wanted}
                for i in range(len(batch)):
                    number += 1
                    yield _row(layout, {name: column[i] for name, column in cells.items()}, number)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise TagformerError(
            f"cannot read {layout.file} after row {number} ({reason}): write or fetch it again."
        ) from error


def _row(layout: _Layout, cells: dict[str, Any], number: int) -> Row:
    origin = f"{layout.file}, row {number}"
    path = cells[layout.path] if layout.path else None
    if not path and layout.image is None:
        raise TagformerError(f"{origin}: no image path.")
    image_id = checked_id(cells[layout.id], origin) if layout.id else None
    if image_id is None and not path:
        image_id = f"{layout.file.name}:{number}"
    split = layout.own_split
    if layout.split and cells[layout.split]:
        split = checked_split(cells[layout.split], layout.file, origin)
    if not layout.lists:
        return Row(path or "", _states(layout, cells, origin), UNKNOWN, False, split, number, image_id)
    said = {key: cells[column] for key, column in layout.lists.items()}
    if layout.classes is not None and said["tags"] is not None:
        said["tags"] = class_names(said["tags"], layout.classes, origin)
    labels, rest, tagged = read_annotation(said, origin)
    return Row(path or "", labels, rest, tagged, split, number, image_id)


def _states(layout: _Layout, cells: dict[str, Any], origin: str) -> dict[str, int]:
    """The states in the columns that are a label each; NaN is pandas' null."""
    states = {}
    for name in layout.columns:
        value = cells[name]
        if value not in STATES and value == value:
            raise TagformerError(f"{origin}, column '{name}': {value}: use 1, 0 or null.")
        states[name] = STATES.get(value, UNKNOWN)
    return states
