"""JSON lines: for each image an object with its path, what is said of its labels, perhaps ``split`` and ``id``.

``{"path": "a.jpg", "tags": ["dog"], "absent": [...], "unknown": ["cat"]}`` lists the labels that are present; those
that it does not name are absent. Where ``tags`` is missing or null the image was not annotated: all is unknown but what
``absent`` names. ``{"present": ["dog"], "absent": ["cat"]}`` and ``{"labels": {"dog": 1, "cat": 0}}`` say what is
known; all other labels are unknown. Shards hold such objects, and Parquet files such columns, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tagformer.data.record import MultiLabelDataset
from tagformer.data.table import PATH_COLUMNS, Row, checked_split, load_table, splits_of
from tagformer.errors import TagformerError
from tagformer.labels import ABSENT, PRESENT, UNKNOWN

TREE = (
    "FILE.jsonl, or a folder with train.jsonl, test.jsonl and perhaps val.jsonl; image paths are relative to it; "
    "perhaps labels.json beside it"
)
OPTIONS = {"images": "folder that the paths are relative to (default: the folder of the JSON lines)"}
STATES = {1: PRESENT, 0: ABSENT, -1: UNKNOWN, None: UNKNOWN}  # True is 1, False is 0
KEYS = {"tags": PRESENT, "present": PRESENT, "absent": ABSENT, "unknown": UNKNOWN}


def splits(path: Path | None, options: dict[str, str]) -> tuple[str, ...]:
    """The split files of a folder, or the values of ``split`` in a file; () where there is neither."""
    assert path is not None
    return splits_of(path, ".jsonl", _read)


def load(path: Path | None, split: str, options: dict[str, str]) -> MultiLabelDataset:
    """Load a file of JSON lines or a folder of them; see the module's text.

    Raises:
        TagformerError: a line that is no object, has no path or says something else of its labels, an image named
            twice, no images; the message names the file and the line.
    """
    assert path is not None
    return load_table(path, split, ".jsonl", _read, options.get("images"))


def _read(file: Path) -> Iterator[Row]:
    """The rows of one file."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield _row(line, number, file)
    except UnicodeDecodeError as error:
        raise TagformerError(f"{file} is not UTF-8 text: save it as UTF-8 JSON lines.") from error
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error


def _row(line: str, number: int, file: Path) -> Row:
    origin = f"{file}, line {number}"
    said = parse(line, origin)
    path = next((said[key] for key in PATH_COLUMNS if key in said), None)
    if not isinstance(path, str) or not path:
        raise TagformerError(f'{origin}: no image path: give it as "path".')
    split = said.get("split")
    if split is not None and not isinstance(split, str):
        raise TagformerError(f"{origin}: split {split!r}: use train, val or test.")
    cells, rest, tagged = read_annotation(said, origin)
    image_id = checked_id(said.get("id"), origin)
    return Row(path, cells, rest, tagged, checked_split(split, file, origin), number, image_id)


# What an object says


def parse(text: str | bytes, origin: str) -> dict[str, Any]:
    """The JSON object in a text.

    Raises:
        TagformerError: it is not UTF-8, not JSON, or another thing than an object.
    """
    try:
        said = json.loads(text)
        if "\\u" in str(text):  # an escape can spell half a character
            json.dumps(said, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise TagformerError(f"{origin}: not UTF-8 text: save it as UTF-8 JSON.") from error
    except (ValueError, RecursionError) as error:
        raise TagformerError(f"{origin}: not valid JSON ({getattr(error, 'msg', error)}).") from error
    if not isinstance(said, dict):
        raise TagformerError(f'{origin}: not an object, as {{"path": "a.jpg", "tags": ["dog"]}}.')
    return said


def read_annotation(said: Mapping[str, Any], origin: str) -> tuple[dict[str, int], int, bool]:
    """
    Args:
        said: the object; other keys are ignored, and a list under ``labels`` is taken as ``tags``.
        origin: where it stands, for messages.

    Returns:
        label -> state; the state of all other labels; whether it is a list of tags.

    Raises:
        TagformerError: something that is no list of names, no state, or a label with two states.
    """
    states = said.get("labels")
    if isinstance(states, list) and said.get("tags") is None:
        said, states = {**said, "tags": states}, None
    if states is not None:
        if said.get("tags") is not None:
            raise TagformerError(f"{origin}: both 'tags' and 'labels': give one of them.")
        return _read_states(states, origin), UNKNOWN, False
    cells: dict[str, int] = {}
    for key, state in KEYS.items():
        names = said.get(key)
        if names is None:
            continue
        if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
            raise TagformerError(f'{origin}: \'{key}\' must be a list of names, as ["dog", "cat"].')
        for name in names:
            if cells.setdefault(name, state) != state:
                other = next(key for key, state in KEYS.items() if state == cells[name])
                raise TagformerError(f"{origin}: label '{name}' stands in both '{other}' and '{key}': keep one.")
    if said.get("tags") is not None:
        return cells, ABSENT, True
    return cells, UNKNOWN, all(state == UNKNOWN for state in cells.values())


def _read_states(states: Any, origin: str) -> dict[str, int]:
    if not isinstance(states, dict):
        raise TagformerError(f'{origin}: \'labels\' must give each label a state, as {{"dog": 1, "cat": 0}}.')
    for name, state in states.items():
        if not name.strip() or isinstance(state, (list, dict)) or state not in STATES:
            raise TagformerError(f"{origin}: label '{name}' has the state {state!r}: use 1, 0 or null.")
    return {name: STATES[state] for name, state in states.items()}


def write_annotation(labels: Tensor, names: Sequence[str]) -> dict[str, list[str] | None]:
    """The shortest object that `read_annotation` reads as these labels, int8 (L,): lists of names."""
    states = labels.tolist()
    present, absent, unknown = (
        [name for name, own in zip(names, states, strict=True) if own == state] for state in (PRESENT, ABSENT, UNKNOWN)
    )
    if not unknown:
        return {"tags": present}
    if len(unknown) == len(names):
        return {"tags": None}
    if len(unknown) < len(absent):
        return {"tags": present, "unknown": unknown}
    return {"present": present, "absent": absent}


def checked_id(value: object, origin: str) -> str | None:
    """An id as text; None for none.

    Raises:
        TagformerError: neither text nor a whole number.
    """
    if value is None or (isinstance(value, str) and value):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TagformerError(f"{origin}: id {value!r}: use text or a whole number.")


def class_names(indices: Sequence[int | None], names: Sequence[str], origin: str) -> list[str]:
    """The names of class indices.

    Raises:
        TagformerError: an index that has no name.
    """
    for index in indices:
        if index is None or not 0 <= index < len(names):
            raise TagformerError(f"{origin}: class index {index}: there are {len(names)} names, from 0 on.")
    return [names[index] for index in indices if index is not None]
