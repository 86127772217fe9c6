"""The values of a format's options: what follows ``?`` in a data set's address."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus

from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, UNKNOWN

TAG_OPTIONS = {
    "separator": "what separates names within a text: a character, or space, comma, tab (default: ;)",
    "empty": "what an empty cell or a null list of tags means: unknown (default) or absent",
}
COLUMN_OPTIONS = {
    "labels": "the columns that are labels, where each label has a column, as A,B (default: all others)",
    "ignore": "columns to leave out, as A,B",
}
UNNAMED = re.compile(r"Unnamed: \d+(\.\d+)*|")  # pandas' name for a column without one
WORDS = {"space": " ", "comma": ",", "tab": "\t", "semicolon": ";", "newline": "\n"}


def choose(options: Mapping[str, str], choices: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The value of each option, by default the first of its choices.

    Raises:
        TagformerError: a value that is not among the choices.

    >>> choose({"empty": "absent"}, {"empty": ("unknown", "absent"), "order": ("name", "date")})
    {'empty': 'absent', 'order': 'name'}
    """
    values = {name: options.get(name, allowed[0]) for name, allowed in choices.items()}
    for name, value in values.items():
        if value not in choices[name]:
            *most, last = choices[name]
            raise TagformerError(f"option {name}={value}: use {', '.join(most)} or {last}.")
    return values


@dataclass(frozen=True)
class TagOptions:
    """How cells of tags are read: the values of `TAG_OPTIONS`.

    Attributes:
        separator: what separates names within a text; None where no option gives it.
        untagged: the state of all labels of an image whose cell of tags is empty.

    >>> TagOptions.parse({"separator": "|", "empty": "absent"})
    TagOptions(separator='|', untagged=0)
    """

    separator: str | None = None
    untagged: int = UNKNOWN

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> TagOptions:
        """Read the values.

        Raises:
            TagformerError: an unknown value of ``empty``, or an empty separator.
        """
        empty = choose(options, {"empty": ("unknown", "absent")})["empty"]
        separator = options.get("separator")
        if separator is not None:
            separator = WORDS.get(separator, separator)
            if separator in ("", "\\"):
                raise TagformerError(
                    f"option separator={separator}: give what is between two names, as separator=| or separator=space."
                )
        return cls(separator, UNKNOWN if empty == "unknown" else ABSENT)


def separator_option(separator: str) -> str:
    """The option that names a separator, as it can be typed.

    >>> separator_option("|"), separator_option(" "), separator_option("&")
    ('?separator=|', '?separator=space', '?separator=%26')
    """
    word = {text: word for word, text in WORDS.items() if text != ";"}.get(separator)
    return f"?separator={word or (separator if separator in '|;/:' else quote_plus(separator))}"


def list_option(options: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    """The names in an option such as ``?labels=A,B``; a name with a comma is quoted. None where it is not given.

    >>> list_option({"labels": 'dog,"black, white"'}, "labels")
    ('dog', 'black, white')
    """
    value = options.get(name)
    if value is None:
        return None
    cells = next(csv.reader([value], skipinitialspace=True), [])
    return tuple(cell.strip() for cell in cells if cell.strip())


def not_used(file: Path, columns: Sequence[str]) -> tuple[str, ...]:
    """The sentence that counts the columns that are not used; () where there are none.

    >>> not_used(Path("my.csv"), ["owner", "date"])
    ('my.csv: 2 columns are not used: owner, date',)
    """
    if not columns:
        return ()
    count = "1 column is" if len(columns) == 1 else f"{len(columns)} columns are"
    return (
        f"{file}: {count} not used: {', '.join(column[:60] for column in columns[:10])}{', ...' * (len(columns) > 10)}",
    )
