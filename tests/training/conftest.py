"""What the tests of training share: a module with the parts of a user."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.own_parts import MODULE


@pytest.fixture
def own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module of tests/own_parts.py as own.py on the Python path."""
    (tmp_path / "own.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
