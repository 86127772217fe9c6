"""Recording answers in one line."""

from __future__ import annotations

import time

from tagformer.answers import AnswerStore, Change


def record(store: AnswerStore, person: str, *cells: tuple[str, str, int], request: str | None = None) -> int:
    """Save cells, (image, label, state), as one step."""
    request = request or f"{person} {time.monotonic_ns()}"
    return store.record(person, "v1", [Change(*cell) for cell in cells], request)
