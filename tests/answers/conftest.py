"""A store of answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tagformer.answers import AnswerStore


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


@pytest.fixture
def store(file: Path) -> Iterator[AnswerStore]:
    with AnswerStore(file) as opened:
        yield opened
