"""A small data set to convert, in parts of three images."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data_files.conversions import write_pictures


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 14 pictures, 8 for training and 6 for the test."""
    return write_pictures(tmp_path / "data")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text files are written in parts of three images."""
    monkeypatch.setattr("tagformer.data.formats._common.writer.PART_ROWS", 3)
