"""The examples in docstrings run in a folder that has a small trained run, ``runs/mine``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

STORED = Path(__file__).parent.parent / "tests" / "runs" / "format_1"


@pytest.fixture(autouse=True)
def folder_with_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder of its own for each example."""
    shutil.copytree(STORED, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAGFORMER_CACHE", str(tmp_path / "cache"))
