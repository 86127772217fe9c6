"""Spellings of label names: one form for names that look the same, and groups of names that look alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Not visible: soft hyphen, zero-width space, direction marks, word joiner, byte order mark.
INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
# Joiners change how letters of some scripts, and emoji, are drawn. Beside Latin, Greek and Cyrillic they do not show.
IDLE_JOINER = re.compile("(?:(?<=[\\s\u0021-\u058f])|^)[\u200c\u200d]+|[\u200c\u200d]+(?=[\\s\u0021-\u058f]|$)")
SEPARATORS = re.compile("[\\s_\u2010-\u2015-]+")
JOINERS = re.compile("[\u200c\u200d]")


def plain_name(name: str) -> str:
    """The one form of all spellings of a name that look the same.

    Letters with accents are composed (Unicode's NFC), characters that are not visible are removed, and every run of
    white space, no-break spaces included, becomes one space, or nothing at the ends.

    >>> from tagformer.labels.names import plain_name
    >>> plain_name(" traffic\\u00a0 light"), plain_name("cafe\\u0301") == "caf\\u00e9"
    ('traffic light', True)
    """
    if name.isascii() and name.isprintable():
        return " ".join(name.split()) if "  " in name else name.strip(" ")
    composed = unicodedata.normalize("NFC", INVISIBLE.sub("", name))
    return IDLE_JOINER.sub("", " ".join(composed.split()))


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """The groups of names that differ only in upper and lower case, spaces, hyphens or punctuation at their end.

    >>> from tagformer.labels.names import similar_names
    >>> similar_names(["Box", "disc", "box", "box."])
    [['Box', 'box', 'box.']]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        letters = unicodedata.normalize("NFKC", JOINERS.sub("", name)).casefold().replace("\u2019", "'")
        key = SEPARATORS.sub(" ", letters).strip().rstrip(".,;:!")
        groups.setdefault(key or name, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def similarity_warnings(names: Iterable[str], listed: int = 5) -> tuple[str, ...]:
    """One sentence that lists the names that look alike; () where all differ.

    >>> from tagformer.labels.names import similarity_warnings
    >>> similarity_warnings(["Box", "disc", "box"])
    ("labels that differ only in case, spaces or punctuation count as different labels: 'Box' and 'box'",)
    """
    groups = similar_names(names)
    if not groups:
        return ()
    texts = [" and ".join(f"'{name[:80]}'" for name in group[:listed]) for group in groups[:listed]]
    more = ", ..." if len(groups) > listed else ""
    return (
        "labels that differ only in case, spaces or punctuation count as different labels: " + ", ".join(texts) + more,
    )
