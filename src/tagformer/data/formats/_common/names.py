"""A look at the names that cells of tags gave: text that was not separated, lists, numbers, missing values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tagformer.data.formats._common.cells import is_missing, split_tags
from tagformer.data.formats._common.options import separator_option
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError, did_you_mean
from tagformer.labels.space import PRESENT, LabelSpace

CLEAR = ("|", ";", "#", "~", ",")  # separators that names of one label rarely contain
DOUBTFUL = (" ", "/", "+", "&", ":")  # separators that such names often contain
JOINING = ("_", "-")  # characters that join the words of a name more often than they separate names
SEPARATORS = (*CLEAR, *DOUBTFUL, *JOINING)
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)
LIST_START = re.compile(r"""[\[({]\s*['"\[({]|\[""")
NO_LABEL = re.compile(
    r"(no|without|not) \S.*|none|normal|negative|nothing|empty|background|clear|healthy", re.IGNORECASE
)


@dataclass(frozen=True)
class Composites:
    """The names that contain one separator.

    Attributes:
        separator: the separator.
        names: those names.
        whole: how many of them consist only of parts that recur: in another of them, or as a name by itself.
        alone: how many of them consist only of parts that are names by themselves.
        counts: the numbers of parts that they have.
    """

    separator: str
    names: list[str]
    whole: int
    alone: int
    counts: frozenset[int]

    @classmethod
    def find(cls, names: Sequence[str], separator: str) -> Composites:
        """Split the names at a separator and count their parts."""
        split: dict[str, list[str]] = {}
        for name in names:
            if separator in name:
                parts = [part for text in name.split(separator) if (part := text.strip())]
                if len(parts) > 1:
                    split[name] = parts
        singles = {name for name in names if name not in split}
        uses = Counter(part for parts in split.values() for part in set(parts))
        whole = sum(all(part in singles or uses[part] > 1 for part in parts) for parts in split.values())
        alone = sum(all(part in singles for part in parts) for parts in split.values())
        return cls(separator, list(split), whole, alone, frozenset(map(len, split.values())))

    def are_lists(self, total: int) -> bool:
        """Whether these names, of `total` names, are lists of names for certain."""
        if len(self.names) < 2 or self.whole < 0.6 * len(self.names) or self.separator in JOINING:
            return False
        if self.separator not in DOUBTFUL:
            return self.separator != "," or 5 * len(self.names) >= total
        varied = len(self.counts | {1} if len(self.names) < total else self.counts) > 2
        return 2 * len(self.names) >= total and (varied or 2 * self.alone >= len(self.names))

    def may_be_lists(self, total: int) -> bool:
        """Whether some of these names, of `total` names, may be lists of names."""
        if self.separator in ("|", ";"):
            return bool(self.names)
        if self.separator in CLEAR:
            return self.alone > 0 or (2 * len(self.names) >= total and bool(self.names))
        return self.alone > 1


def check_names(
    source: str, names: Sequence[str], place: Callable[[str], str], separators: Sequence[str], advice: str
) -> tuple[str, ...]:
    """Look for names that are not the name of one label.

    Args:
        source: the data set, for messages.
        names: the names.
        place: where a name occurs first.
        separators: what may separate names; empty where the separator was given.
        advice: what to do where the names are numbers.

    Returns:
        One sentence for each likely mistake.

    Raises:
        TagformerError: most names contain one separator and their parts recur, or begin like the text of a list, or
            are numbers.
    """
    warnings = []
    numbers = [name for name in names if NUMBER.fullmatch(name)]
    if numbers and 2 * len(numbers) > len(names):
        raise TagformerError(
            f"{source}: {len(numbers)} of {len(names)} names of labels are numbers, as '{numbers[0]}' "
            f"({place(numbers[0])}): {advice}, or list the numbers in labels.json where they are the names."
        )
    lists = [name for name in names if LIST_START.match(name)]
    if lists:
        text = _example(source, lists, names, "begin like the text of a list", place)
        if 2 * len(lists) > len(names):
            raise TagformerError(f'{text}: write names separated by \';\', or whole lists, as ["dog", "cat"].')
        warnings.append(f"{text}: check that no list is cut off")
    if missing := [name for name in names if is_missing(name)]:
        quoted = " and ".join(f"'{name}'" for name in missing[:3])
        warnings.append(f"{source}: a label is called {quoted}, as programs write a missing value: check the names")
    warnings += _separators(source, names, place, separators)
    return tuple(warnings)


def check_known(first_rows: Mapping[str, int], label_space: LabelSpace, origins: Sequence[str], where: str) -> None:
    """Check that the label space has every label that a row names.

    Args:
        first_rows: name of a label -> the row that names it first.
        where: where the labels are listed, for the message.

    Raises:
        TagformerError: a row names a label that the label space does not have.
    """
    allowed = set(label_space.names)
    for label, row in first_rows.items():
        if label in allowed:
            continue
        for separator in (*CLEAR, " "):
            if len(parts := split_tags(label, separator)) > 1 and allowed.issuperset(parts):
                raise TagformerError(
                    f"{origins[row]}: label '{label}' is not {where}, but its parts are: separate them with "
                    f"{separator_option(separator)}."
                )
        raise TagformerError(
            f"{origins[row]}: label '{label}' is not {where}: fix the name, or add it there"
            f"{did_you_mean(label, label_space.names)}."
        )


def _separators(source: str, names: Sequence[str], place: Callable[[str], str], separators: Sequence[str]) -> list[str]:
    """Warnings of separators within names.

    Raises:
        TagformerError: most names with a separator consist of parts that recur.
    """
    warnings = []
    for separator in separators:
        composites = Composites.find(names, separator)
        shown = "spaces" if separator == " " else f"'{separator}'"
        if composites.are_lists(len(names)):
            text = _example(source, composites.names, names, f"contain {shown} between parts that recur", place)
            raise TagformerError(
                f"{text}: separate the names with {separator_option(separator)}, or keep them whole with ?separator=;."
                if separator != ";"
                else f"{text}: separate the names with ?separator=;."
            )
        if composites.may_be_lists(len(names)):
            text = _example(source, composites.names, names, f"contain {shown}", place)
            warnings.append(f"{text}: if these are several labels, use {separator_option(separator)}")
    return warnings


def _example(source: str, some: Sequence[str], names: Sequence[str], what: str, place: Callable[[str], str]) -> str:
    return f"{source}: {len(some)} of {len(names)} names of labels {what}, as '{some[0][:60]}' ({place(some[0])})"


def means_no_label(name: str) -> bool:
    """Whether a name seems to say that an image has no label.

    >>> means_no_label("No Finding"), means_no_label("nose")
    (True, False)
    """
    return NO_LABEL.fullmatch(name) is not None


def lonely_label_warnings(name: str, rows: SparseRows, label_space: LabelSpace) -> tuple[str, ...]:
    """A sentence for each label that seems to mean "no label" and is never present with another, as 'No Finding'."""
    candidates = [column for column, label in enumerate(label_space.names) if means_no_label(label)]
    if not candidates:
        return ()
    entry_rows, columns, values, _ = rows.entries()
    present = values == PRESENT
    labels_of_row = np.bincount(entry_rows[present], minlength=len(rows))
    warnings = []
    for column in candidates[:3]:
        rows_with = entry_rows[present & (columns == column)]
        if len(rows_with) and labels_of_row.max() > 1 and (labels_of_row[rows_with] == 1).all():
            warnings.append(
                f"{name}: label '{label_space.names[column]}' is on {len(rows_with)} images and never together with "
                "another: if it means that an image has no label, write no name there (in a CSV a lone ;)"
            )
    return tuple(warnings)
