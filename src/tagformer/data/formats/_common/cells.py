"""Cells of tags: names separated by ``;`` or another separator, and lists that Python, NumPy or JSON wrote as text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence

from tagformer.labels.names import plain_name

ITEM = re.compile(  # a quoted text, or a missing value, and the comma after it
    r"""[uU]?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*(?:,\s*|(?=['"]|$))|(?:nan|None)\s*(?:,\s*|$)"""
)
ENDS = {"[": "]", "(": ")", "{": "}"}
EMPTY_LISTS = ("[]", "()", "{}", "set()")
# How pandas, R, spreadsheets and databases write a missing value.
MISSING = frozenset({"nan", "none", "null", "na", "n/a", "#n/a", "#na", "<na>", "nat", "-nan"})


def join_tags(names: Sequence[str]) -> str:
    """The names as one cell, separated by ``;``; a lone ``;`` for no names.

    >>> join_tags(["dog", "black;white"])
    'dog;black\\\\;white'
    """
    cell = ";".join(name.replace("\\", "\\\\").replace(";", "\\;") for name in names) or ";"
    return f"\\{cell}" if cell.startswith((*ENDS, "set()")) else cell  # otherwise it could be read as a list


def split_tags(cell: str, separator: str = ";") -> list[str]:
    """The names in a cell: one that `join_tags` wrote, or the text of a list.

    >>> split_tags("dog; cat;")
    ['dog', 'cat']
    >>> split_tags("dog|black, white", separator="|"), split_tags("['dog', 'cat']")
    (['dog', 'black, white'], ['dog', 'cat'])
    """
    if cell.startswith((*ENDS, "set()")) and (names := read_list(cell)) is not None:
        return names
    if separator == " ":
        return cell.split()  # of any white space
    if "\\" not in cell:
        return [name for part in cell.split(separator) if (name := part.strip())]
    if cell.startswith("\\") and cell[1:].startswith((*ENDS, "set()")):
        cell = cell[1:]
    quoted = re.escape(separator)
    parts = re.findall(rf"((?:\\.|(?!{quoted}).)*)(?:{quoted}|$)", cell, re.DOTALL)
    return [name for part in parts if (name := re.sub(rf"\\({quoted}|\\)", r"\1", part).strip())]


def read_list(text: str) -> list[str] | None:
    """The names in the text of a list, tuple or set; None where the text is something else.

    Nothing is evaluated but one quoted text at a time. Missing values (``nan``, ``None``) are left out.

    >>> read_list('["dog", "cat"]'), read_list("['dog' 'cat']"), read_list("[dog, cat]"), read_list("(dog)")
    (['dog', 'cat'], ['dog', 'cat'], ['dog', 'cat'], None)
    """
    text = text.strip()
    if text in EMPTY_LISTS:
        return []
    if len(text) < 2 or ENDS.get(text[0]) != text[-1]:
        return None
    if text[0] == "[":
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            return [str(value) for value in values if value is not None] if _is_flat(values) else None
    content = text[1:-1].strip()
    if "'" in content or '"' in content:
        return _quoted_items(content)
    if text[0] != "[" or any(bracket in content for bracket in "[]{}()"):
        return None
    return [item for part in content.split(",") if (item := part.strip()) and item not in ("nan", "None")]


def _is_flat(values: object) -> bool:
    return isinstance(values, list) and not any(isinstance(value, (list, dict)) for value in values)


def _quoted_items(content: str) -> list[str] | None:
    """The items of a list of quoted texts, separated by commas or, as NumPy writes them, by white space."""
    items, position = [], 0
    while position < len(content):
        match = ITEM.match(content, position)
        if match is None:
            return None
        if match[1]:
            try:
                items.append(str(ast.literal_eval(match[1])))
            except (ValueError, SyntaxError, MemoryError):
                return None
        position = match.end()
    return [item for item in items if item.strip()]


def is_missing(name: str) -> bool:
    """Whether a name is how programs write a missing value.

    >>> is_missing("NaN"), is_missing("nano")
    (True, False)
    """
    return len(name) <= 6 and plain_name(name).casefold() in MISSING
