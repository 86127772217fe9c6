"""Text files with one entry per line: lists of images, of labels, and of pairs of a key and a value."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from pathlib import Path

import numpy as np

from tagformer.data.columns import Origins, Strings
from tagformer.errors import TagformerError
from tagformer.files import read_bytes
from tagformer.labels.space import LabelSpace


def read_names(file: Path) -> list[str]:
    """The lines of a text file, stripped of surrounding white space.

    Raises:
        TagformerError: the file cannot be read, is not UTF-8, has no lines, or has an empty line before its last.
    """
    try:
        content = read_bytes(file)
        lines = [line.strip() for line in content.decode("utf-8-sig").rstrip().split("\n")]
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise TagformerError(f"{file}, line {line} is not UTF-8 text: save the file as UTF-8.") from error
    if lines == [""]:
        raise TagformerError(f"{file} is empty: it needs a name on each line.")
    if "" in lines:
        raise TagformerError(f"{file}, line {lines.index('') + 1} is empty: write a name on each line.")
    return lines


def read_pairs(file: Path, expected: str, allowed: Container[str] | None = None) -> dict[str, str]:
    """The lines "key value" of a file, in their order: entry n is in line n.

    Args:
        expected: what a line should be, for messages.
        allowed: the allowed values; None: any.

    Raises:
        TagformerError: as `read_names`; a line without a value, a value that is not allowed, a duplicate key.
    """
    pairs: dict[str, str] = {}
    for number, line in enumerate(read_names(file), 1):
        key, *value = line.split(maxsplit=1)
        if not value or (allowed is not None and value[0] not in allowed):
            raise TagformerError(f"{file}, line {number}: '{line[:80]}': write {expected}.")
        if key in pairs:
            first = list(pairs).index(key) + 1
            raise TagformerError(f"{file}, line {number}: '{key}' is a duplicate of line {first}: remove one.")
        pairs[key] = value[0]
    return pairs


def join_lists(files: Sequence[Path], lists: Sequence[Sequence[str]]) -> tuple[Strings, Origins]:
    """Concatenate several lists of images, and note the file and line of each image.

    Args:
        files: the lists' files, for messages.
        lists: the paths in each, from `read_names`; a Windows path gets ``/`` between its folders.

    Raises:
        TagformerError: an image is listed twice.
    """
    names = Strings(name.replace("\\", "/") for paths in lists for name in paths)
    which = np.repeat(np.arange(len(lists)), [len(paths) for paths in lists])
    origins = Origins(files, which, np.concatenate([np.arange(1, len(paths) + 1) for paths in lists]))
    _check_unique(names, origins)
    return names, origins


def read_label_space(file: Path, count: int | None = None) -> LabelSpace:
    """The labels from a file with one name per line.

    Args:
        count: how many names there must be; None: any number.

    Raises:
        TagformerError: as `read_names`; another number of names than `count`, or a duplicate name.
    """
    names = read_names(file)
    if count is not None and len(names) != count:
        raise TagformerError(f"{file} has {len(names)} lines: it needs the names of the {count} labels, one per line.")
    _check_unique(names, Origins([file], [0] * len(names), range(1, len(names) + 1)))
    return LabelSpace(tuple(names))


def _check_unique(names: Iterable[str], origins: Origins) -> None:
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if first.setdefault(name, row) != row:
            raise TagformerError(f"{origins[row]}: '{name}' is a duplicate of {origins[first[name]]}: remove one.")
