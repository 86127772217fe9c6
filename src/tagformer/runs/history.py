"""Reading a run's ``history.csv``."""

from __future__ import annotations

import csv
from pathlib import Path

from tagformer.errors import TagformerError
from tagformer.files import read_bytes


def read_history(file: Path) -> list[dict[str, float]]:
    """The figures of each epoch by the names of their columns; empty cells are left out.

    Raises:
        TagformerError: the file cannot be read, or is not a history.
    """
    try:
        lines = read_bytes(file).decode("utf-8").splitlines()
        rows = [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(lines, strict=True)]
        if not all("epoch" in row for row in rows):
            raise ValueError("a row has no epoch")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise TagformerError(
            f"{file} is not the history of a training ({error}): delete it, and the report is made without its curves."
        ) from error
    return rows
