"""The meaning of the columns of a Parquet file: images, ids, splits and labels."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from tagformer.data.formats._common.annotation import KEYS
from tagformer.data.formats._common.options import list_option, not_used
from tagformer.data.formats._common.table import PATH_COLUMNS, TAG_COLUMNS
from tagformer.errors import TagformerError, did_you_mean
from tagformer.files import check_regular

ROW_NUMBERS = re.compile(r"__index_level_|Unnamed: \d|$")  # columns that pandas wrote for its index


def open_parquet(file: Path) -> pq.ParquetFile:
    """
    Raises:
        TagformerError: the file is truncated or not a Parquet file.
    """
    try:
        check_regular(file)
        return pq.ParquetFile(file, buffer_size=1 << 20)
    except (pa.ArrowException, OSError, ValueError) as error:  # a damaged name is a UnicodeDecodeError
        reason = str(error).split("\n")[0].rstrip(".")
        raise TagformerError(f"{file} is not a whole Parquet file ({reason}): write or fetch it again.") from error


@dataclass(frozen=True)
class Columns:
    """The columns of one Parquet file; None where there is no such column.

    Attributes:
        file: the file.
        file_split: the split in the file's name, or "".
        rows: the number of rows.
        path, image, id, split: the names of these columns.
        lists: key of an annotation -> its column of names (or of class indices, for tags).
        labels: the names of the columns that are a label each.
        classes: the names of the class indices.
        text: the column of tags holds text, as the cells of a CSV do.
        notes: what is not used.
    """

    file: Path
    file_split: str
    rows: int
    path: str | None
    image: str | None
    id: str | None
    split: str | None
    lists: dict[str, str]
    labels: tuple[str, ...]
    classes: tuple[str, ...] | None
    text: bool
    notes: tuple[str, ...]

    @classmethod
    def read(cls, file: Path, file_split: str, options: Mapping[str, str]) -> Columns:
        """Find the columns of a file by their usual names and types, and by the options.

        Raises:
            TagformerError: a column is missing or of another type; there are no images or no labels.
        """
        with open_parquet(file) as opened:
            schema, rows = opened.schema_arrow, opened.metadata.num_rows
        fields = {field.name: field.type for field in schema}
        if len(fields) < len(schema.names):
            raise TagformerError(f"{file} has two columns with the same name: rename or remove one.")
        image = _find_image(file, fields, options)
        path = _find(file, fields, options, "path", PATH_COLUMNS, _is_text, "text")
        if image is None and path is None:
            raise TagformerError(
                f"{file} has no column of image paths or images among {', '.join(fields)}: call it 'path', or name it "
                "with ?path=COLUMN or ?image=COLUMN."
            )
        id_ = _find(file, fields, options, "id", ["id"], _is_id, "text or whole numbers")
        split_names = [name for name in fields if name.lower() == "split"]
        split = _find(file, fields, options, "split", split_names, _is_text, "text")
        chosen = _chosen(file, fields, options)
        tags, lists = None, {}
        if "labels" not in options:
            expected = "a list of text or of class indices, or text"
            tags = _find(file, fields, options, "tags", TAG_COLUMNS, _is_tags, expected)
            lists = {key: key for key in KEYS if key in fields and _is_list(fields[key], text_only=True)}
            lists |= {"tags": tags} if tags else {}
        classes, text = None, tags is not None and _is_text(fields[tags])
        if tags and not text and types.is_integer(fields[tags].value_type):
            classes = _class_names(schema.metadata, tags)
            if classes is None:
                raise TagformerError(
                    f"{file}: column '{tags}' holds class indices, but the file's metadata has no names for them."
                )
        special = {path, image, id_, split, *lists.values()}
        others = [name for name in chosen if name not in special]
        labels = () if lists else _label_columns(file, fields, others)
        unused = [name for name in chosen if name not in special] if lists else []
        return cls(
            file, file_split, rows, path, image, id_, split, lists, labels, classes, text, not_used(file, unused)
        )


def _find(
    file: Path,
    fields: Mapping[str, pa.DataType],
    options: Mapping[str, str],
    option: str,
    defaults: Sequence[str],
    fits: Callable[[pa.DataType], bool],
    expected: str,
) -> str | None:
    """The column that an option names, or else the first of its default names that is of a type that fits."""
    requested = options.get(option)
    if requested is None:
        return next((name for name in defaults if name in fields and fits(fields[name])), None)
    if requested not in fields:
        raise TagformerError(f"{file} has no column '{requested}'{did_you_mean(requested, fields)}.")
    if not fits(fields[requested]):
        raise TagformerError(f"{file}: column '{requested}' is of type {fields[requested]}: it must be {expected}.")
    return requested


def _find_image(file: Path, fields: Mapping[str, pa.DataType], options: Mapping[str, str]) -> str | None:
    image = _find(file, fields, options, "image", ["image"], _is_image, "bytes, or a struct with bytes")
    if image is not None:
        return image
    stored = [name for name, kind in fields.items() if _is_image(kind)]
    if len(stored) > 1:
        raise TagformerError(f"{file} has several columns of images, {', '.join(stored)}: choose with ?image=NAME.")
    return stored[0] if stored else None


def _chosen(file: Path, fields: Mapping[str, pa.DataType], options: Mapping[str, str]) -> list[str]:
    """The columns that ``?labels=`` names, or else all that ``?ignore=`` does not name, without pandas' row numbers.

    Raises:
        TagformerError: an option names a column that does not exist.
    """
    labels, ignored = list_option(options, "labels"), list_option(options, "ignore") or ()
    for name in (*(labels or ()), *ignored):
        if name not in fields:
            raise TagformerError(f"{file} has no column '{name}'{did_you_mean(name, fields)}.")
    if labels is not None:
        return list(labels)
    return [name for name in fields if name not in ignored and not ROW_NUMBERS.match(name)]


def _label_columns(file: Path, fields: Mapping[str, pa.DataType], names: Sequence[str]) -> tuple[str, ...]:
    """The columns that are a label each.

    Raises:
        TagformerError: there is none, or one is of a type that holds no states.
    """
    other = [name for name in names if not _is_state(fields[name])]
    if other:
        quoted = ",".join(f'"{name}"' if "," in name else name for name in other)
        raise TagformerError(
            f"{file}: column '{other[0]}' is of type {fields[other[0]]}, but a label's column holds 1, 0 or null: "
            f"leave such columns out with ?ignore={quoted}, or name a column of tags with ?tags=COLUMN."
        )
    if not names:
        raise TagformerError(f"{file} has no labels: add a column 'tags', or one column per label.")
    return tuple(names)


def _class_names(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...] | None:
    """The names of a column's class indices in Hugging Face's metadata."""
    try:
        feature = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
        return tuple(map(str, feature["names"]))
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind))


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


def _is_tags(kind: pa.DataType) -> bool:
    return _is_list(kind) or _is_text(kind)


def _is_state(kind: pa.DataType) -> bool:
    return bool(types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind))
