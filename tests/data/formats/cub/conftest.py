"""A small CUB tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data_files.cub import ATTRIBUTES, FILES, write


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A CUB tree as its archive unpacks: attributes.txt is beside the folder."""
    for name, content in FILES.items():
        write(tmp_path / "CUB_200_2011" / name, content)
    write(tmp_path / "attributes.txt", ATTRIBUTES)
    return tmp_path / "CUB_200_2011"
