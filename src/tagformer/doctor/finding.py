"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


OK, NOTE, PROBLEM = Level.OK, Level.NOTE, Level.PROBLEM


@dataclass(frozen=True)
class Finding:
    """One line of ``tagformer doctor``.

    Attributes:
        level: ok; note: it works, but slower or with less than it could; problem: something will fail.
        text: what was found.
        cure: what to do; empty where nothing need be done.

    >>> print(Finding(PROBLEM, "/data is full", "free some space"))
    problem  /data is full: free some space.
    """

    level: Level
    text: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.level.value:<8} {self.text}{f': {self.cure}' if self.cure else ''}."


def gigabytes(count: float) -> str:
    """Bytes as text, in units of 10^9.

    >>> gigabytes(2.46e10), gigabytes(3.1e8)
    ('25 GB', '0.3 GB')
    """
    size = count / 1e9
    return f"{size:.0f} GB" if size >= 10 else f"{size:.1f} GB"
