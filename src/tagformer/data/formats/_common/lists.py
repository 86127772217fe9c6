"""Text files with an entry a line: lists of images, of labels, and of pairs of a key and a value."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from pathlib import Path

import numpy as np

from tagformer.data.columns import Origins, Strings
from tagformer.errors import TagformerError
from tagformer.labels.space import LabelSpace


def read_names(file: Path) -> list[str]:
    """The lines of a text file, without the white space around them.

    Raises:
        TagformerError: the file cannot be read, is not UTF-8, has no lines, or has an empty one before its last.
    """
    try:
        content = file.read_bytes()
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


def read_pairs(file: Path, form: str, allowed: Container[str] | None = None) -> dict[str, str]:
    """The lines "key value" of a file, each the next entry: entry n stands in line n.

    Args:
        form: what a line should be, for messages.
        allowed: the values that there may be; None: any.

    Raises:
        TagformerError: as `read_names`; a line without a value, a value that is not allowed, a key that stands twice.
    """
    pairs: dict[str, str] = {}
    for number, line in enumerate(read_names(file), 1):
        key, *value = line.split(maxsplit=1)
        if not value or (allowed is not None and value[0] not in allowed):
            raise TagformerError(f"{file}, line {number}: '{line[:80]}': write {form}.")
        if key in pairs:
            first = list(pairs).index(key) + 1
            raise TagformerError(f"{file}, line {number}: '{key}' stands already in line {first}: remove one.")
        pairs[key] = value[0]
    return pairs


def join_lists(files: Sequence[Path], lists: Sequence[Sequence[str]]) -> tuple[Strings, Origins]:
    """The images that several lists name, one list after the other, and where each stands.

    Args:
        files: the lists' files, for messages.
        lists: the paths in each, from `read_names`; a path from Windows gets ``/`` between its folders.

    Raises:
        TagformerError: an image is named twice.
    """
    names = Strings(name.replace("\\", "/") for own in lists for name in own)
    which = np.repeat(np.arange(len(lists)), [len(own) for own in lists])
    origins = Origins(files, which, np.concatenate([np.arange(1, len(own) + 1) for own in lists]))
    _refuse_twins(names, origins)
    return names, origins


def read_label_space(file: Path, count: int | None = None) -> LabelSpace:
    """The labels from a file with one name a line.

    Raises:
        TagformerError: as `read_names`; not `count` names, where that is given; a name that stands twice.
    """
    names = read_names(file)
    if count is not None and len(names) != count:
        raise TagformerError(f"{file} has {len(names)} lines: it needs the names of the {count} labels, one a line.")
    _refuse_twins(names, Origins([file], [0] * len(names), range(1, len(names) + 1)))
    return LabelSpace(tuple(names))


def _refuse_twins(names: Iterable[str], origins: Origins) -> None:
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if first.setdefault(name, row) != row:
            raise TagformerError(f"{origins[row]}: '{name}' stands already in {origins[first[name]]}: remove one.")
