"""What is said of one image's labels, in the form that JSON lines, Parquet, Hugging Face's data and shards share.

``{"tags": ["dog"], "absent": [...], "unknown": ["cat"]}`` lists the labels that are present; those that it does not
name are absent. Where ``tags`` is missing or null the image was not annotated: all is unknown but what ``absent``
names. ``{"present": ["dog"], "absent": ["cat"]}`` and ``{"labels": {"dog": 1, "cat": 0}}`` say what is known; all other
labels are unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN

STATES = {1: PRESENT, 0: ABSENT, -1: UNKNOWN, None: UNKNOWN}  # True is 1, False is 0
KEYS = {"tags": PRESENT, "present": PRESENT, "absent": ABSENT, "unknown": UNKNOWN}


def parse(text: bytes, origin: str) -> dict[str, Any]:
    """The JSON object in a text.

    Args:
        origin: where it stands, for messages.

    Raises:
        TagformerError: it is not UTF-8, not JSON, or another thing than an object.
    """
    try:
        decoded = text.decode("utf-8-sig")
        said = json.loads(decoded)
        if "\\u" in decoded:  # an escape can spell half a character
            json.dumps(said, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise TagformerError(f"{origin}: not UTF-8 text: save it as UTF-8 JSON.") from error
    except (ValueError, RecursionError) as error:
        raise TagformerError(f"{origin}: not valid JSON ({getattr(error, 'msg', error)}).") from error
    if not isinstance(said, dict):
        raise TagformerError(f'{origin}: not an object, as {{"path": "a.jpg", "tags": ["dog"]}}.')
    return said


def read_annotation(said: Mapping[str, Any], origin: str) -> tuple[dict[str, int], int, bool]:
    """What an object says.

    Args:
        said: the object; other keys are ignored, and a list under ``labels`` is taken as ``tags``.
        origin: where it stands, for messages.

    Returns:
        label -> state; the state of all other labels; whether it is a list of tags.

    Raises:
        TagformerError: something that is no list of names, no state, or a label with two states.
    """
    lists = {key: said[key] for key in KEYS if said.get(key) is not None}
    states = said.get("labels")
    if states is not None and "tags" in lists:
        raise TagformerError(f"{origin}: both 'tags' and 'labels': give one of them.")
    if isinstance(states, list):
        lists = {"tags": _names(states, "labels", origin), **lists}
    elif states is not None:
        if lists:
            raise TagformerError(f"{origin}: both '{next(iter(lists))}' and states in 'labels': give one of them.")
        return _read_states(states, origin), UNKNOWN, False
    cells: dict[str, int] = {}
    for key, names in lists.items():
        for name in _names(names, key, origin):
            if cells.setdefault(name, KEYS[key]) != KEYS[key]:
                other = next(other for other, own in lists.items() if name in own)
                raise TagformerError(f"{origin}: label '{name}' stands in both '{other}' and '{key}': keep one.")
    if "tags" in lists:
        return cells, ABSENT, True
    return cells, UNKNOWN, all(state == UNKNOWN for state in cells.values())


def _names(value: Any, key: str, origin: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
        form = "a list of names" if key != "labels" else "a list of names or an object of states"
        raise TagformerError(f'{origin}: \'{key}\' must be {form}, as ["dog", "cat"].')
    return value


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
