"""The annotation of one image as a JSON object, shared by JSON lines, Parquet, Hugging Face's data and shards.

``{"tags": ["dog"], "absent": [...], "unknown": ["cat"]}`` lists the present labels; labels that it does not name are
absent. Where ``tags`` is missing or null the image was not annotated: every label is unknown except those under
``absent``. ``{"present": ["dog"], "absent": ["cat"]}`` and ``{"labels": {"dog": 1, "cat": 0}}`` list the known labels;
all other labels are unknown. A text instead of a list of names must be that of a list, ``"['dog', 'cat']"``, or the
separator must be given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tagformer.data.formats._common.cells import read_list, split_tags
from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN

STATES = {1: PRESENT, 0: ABSENT, -1: UNKNOWN, None: UNKNOWN}  # True equals 1, False equals 0
KEYS = {"tags": PRESENT, "present": PRESENT, "absent": ABSENT, "unknown": UNKNOWN}


def parse(text: bytes, origin: str) -> dict[str, Any]:
    """The JSON object in a text.

    Args:
        origin: its file and line, for messages.

    Raises:
        TagformerError: it is not UTF-8, not JSON, or not an object.
    """
    try:
        decoded = text.decode("utf-8-sig")
        value = json.loads(decoded)
        if "\\u" in decoded:  # an escape can spell half a surrogate pair, which is not text
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise TagformerError(f"{origin}: not UTF-8 text: save it as UTF-8 JSON.") from error
    except (ValueError, RecursionError) as error:
        raise TagformerError(f"{origin}: not valid JSON ({getattr(error, 'msg', error)}).") from error
    if not isinstance(value, dict):
        raise TagformerError(f'{origin}: not a JSON object: write one as {{"path": "a.jpg", "tags": ["dog"]}}.')
    return value


def read_annotation(
    annotation: Mapping[str, Any], origin: str, separator: str | None = None
) -> tuple[dict[str, int], int, bool]:
    """The label states in an annotation.

    Args:
        annotation: the object; other keys are ignored, and a list under ``labels`` is read as ``tags``.
        origin: its file and line, for messages.
        separator: what separates names within a text, also within the names of a list; None: names are whole.

    Returns:
        label -> state; the state of all other labels; whether it is a list of tags.

    Raises:
        TagformerError: a value that is not a list of names, an unknown state, or a label with two states.

    >>> read_annotation({"tags": ["dog"], "unknown": ["cat"]}, "my.jsonl, line 1")
    ({'dog': 1, 'cat': -1}, 0, True)
    >>> read_annotation({"labels": {"dog": 1, "cat": 0}}, "my.jsonl, line 2")
    ({'dog': 1, 'cat': 0}, -1, False)
    """
    lists = {key: annotation[key] for key in KEYS if annotation.get(key) not in (None, "")}
    states = annotation.get("labels")
    states = None if states == "" else states
    if states is not None and "tags" in lists:
        raise TagformerError(f"{origin}: both 'tags' and 'labels': give one of them.")
    if isinstance(states, list) or (isinstance(states, str) and (separator or read_list(states) is not None)):
        lists = {"tags": _names(states, "labels", origin, separator), **lists}
    elif states is not None:
        if lists:
            raise TagformerError(f"{origin}: both '{next(iter(lists))}' and states in 'labels': give one of them.")
        return _read_states(states, origin), UNKNOWN, False
    cells: dict[str, int] = {}
    for key, names in lists.items():
        for name in _names(names, key, origin, separator):
            if cells.setdefault(name, KEYS[key]) != KEYS[key]:
                first = next(first for first, members in lists.items() if name in members)
                raise TagformerError(f"{origin}: label '{name}' is in both '{first}' and '{key}': keep one.")
    if "tags" in lists:
        return cells, ABSENT, True
    return cells, UNKNOWN, all(state == UNKNOWN for state in cells.values())


def _names(value: Any, key: str, origin: str, separator: str | None) -> list[str]:
    if isinstance(value, str):
        listed = split_tags(value.strip(), separator) if separator else read_list(value)
        if listed is not None:
            return listed
    if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
        form = "a list of names" if key != "labels" else "a list of names or an object of states"
        advice = ", or name what separates the names in the text with ?separator=" if isinstance(value, str) else ""
        raise TagformerError(f'{origin}: \'{key}\' must be {form}, as ["dog", "cat"]{advice}.')
    if separator is None:
        return value
    return [part for name in value for part in split_tags(name, separator)]


def _read_states(states: Any, origin: str) -> dict[str, int]:
    if not isinstance(states, dict):
        raise TagformerError(f'{origin}: \'labels\' must give each label a state, as {{"dog": 1, "cat": 0}}.')
    for name, state in states.items():
        if not name.strip() or isinstance(state, (list, dict)) or state not in STATES:
            raise TagformerError(f"{origin}: label '{name}' has the state {state!r}: use 1, 0 or null.")
    return {name: STATES[state] for name, state in states.items()}


def write_annotation(labels: Tensor, names: Sequence[str]) -> dict[str, list[str] | None]:
    """The shortest annotation, in lists of names, that `read_annotation` reads as these labels, int8 (L,).

    >>> import torch
    >>> write_annotation(torch.tensor([1, 0, -1], dtype=torch.int8), ["dog", "cat", "cow"])
    {'present': ['dog'], 'absent': ['cat']}
    """
    states = labels.tolist()
    present, absent, unknown = (
        [name for name, value in zip(names, states, strict=True) if value == state]
        for state in (PRESENT, ABSENT, UNKNOWN)
    )
    if not unknown:
        return {"tags": present}
    if len(unknown) == len(names):
        return {"tags": None}
    if len(unknown) < len(absent):
        return {"tags": present, "unknown": unknown}
    return {"present": present, "absent": absent}


def checked_id(value: object, origin: str) -> str | None:
    """An id as text; None for None.

    Raises:
        TagformerError: it is neither text nor a whole number.
    """
    if value is None or (isinstance(value, str) and value):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TagformerError(f"{origin}: id {value!r}: use text or a whole number.")


def class_names(indices: Sequence[int | None], names: Sequence[str], origin: str) -> list[str]:
    """The names of class indices.

    Raises:
        TagformerError: an index without a name.
    """
    for index in indices:
        if index is None or not 0 <= index < len(names):
            raise TagformerError(f"{origin}: class index {index}: there are {len(names)} names, from 0 on.")
    return [names[index] for index in indices if index is not None]
