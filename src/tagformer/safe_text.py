"""Text from data, made harmless for spreadsheets and terminals.

A spreadsheet runs a cell such as ``=cmd|' /C calc'!A0`` as a formula. Where a CSV is written for people, an apostrophe
before such a cell makes it text, and `original_cell` takes it away again. A terminal obeys escape sequences, which
could hide text or rename the window; `printable` writes their characters out.
"""

from __future__ import annotations

import re
import unicodedata

FORMULA = re.compile(r"'*[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
FORMAT_LETTERS = frozenset("\u200c\u200d")  # zero-width joiners, which some scripts and emoji need


def _is_formula(cell: str) -> bool:
    """Whether a spreadsheet would compute the cell, apart from apostrophes before it; a number is harmless."""
    return FORMULA.match(cell) is not None and NUMBER.fullmatch(cell.lstrip("'")) is None


def spreadsheet_cell(cell: str) -> str:
    """A cell that a spreadsheet shows and does not compute: with an apostrophe before what looks like a formula.

    >>> from tagformer.safe_text import spreadsheet_cell
    >>> [spreadsheet_cell(cell) for cell in ("=1+1", "-0.5", "dog", "'@x")]
    ["'=1+1", '-0.5', 'dog', "''@x"]
    """
    return f"'{cell}" if _is_formula(cell) else cell


def original_cell(cell: str) -> str:
    """The cell that `spreadsheet_cell` got: without the first apostrophe before what looks like a formula.

    >>> from tagformer.safe_text import original_cell
    >>> [original_cell(cell) for cell in ("'=1+1", "=1+1", "'dog'", "''@x")]
    ['=1+1', '=1+1', "'dog'", "'@x"]
    """
    return cell[1:] if cell[:1] == "'" and _is_formula(cell) else cell


def data_cell(cell: str) -> str:
    """A cell of a CSV for programs, which `original_cell` reads back: a formula stays, its apostrophes are kept apart.

    >>> from tagformer.safe_text import data_cell
    >>> [data_cell(cell) for cell in ("=1+1", "'=1+1")]
    ['=1+1', "''=1+1"]
    """
    return spreadsheet_cell(cell) if cell[:1] == "'" else cell


def printable(text: str) -> str:
    r"""Text for a terminal: control characters, except line breaks and tabs, are written as ``\x1b``.

    So are the characters that change the direction of text, and the bytes of a file name that are not UTF-8.

    >>> from tagformer.safe_text import printable
    >>> print(printable("dog\x1b[2J"))
    dog\x1b[2J
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _is_shown(character) else _written_out(character) for character in text)


def _is_shown(character: str) -> bool:
    if character in "\n\t" or character in FORMAT_LETTERS:
        return True
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _written_out(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
