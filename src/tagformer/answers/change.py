"""Answers as the store takes and gives them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """A new state of one label of one image.

    Attributes:
        image: its id.
        label: its name.
        state: 1 present, 0 absent, -1 unknown again.

    >>> from tagformer.answers import Change
    >>> Change("a.jpg", "dog", 1).state
    1
    """

    image: str
    label: str
    state: int


@dataclass(frozen=True)
class Entry:
    """One answer in the history of an image.

    Attributes:
        person: who answered.
        when: UTC, as ISO 8601.
        version: of the model whose predictions the person saw.
        label: its name.
        before, after: states, 1, 0 or -1.

    >>> from tagformer.answers import Entry
    >>> Entry("ann", "2026-01-31T12:00:00.000+00:00", "v1", "dog", before=-1, after=1).person
    'ann'
    """

    person: str
    when: str
    version: str
    label: str
    before: int
    after: int
