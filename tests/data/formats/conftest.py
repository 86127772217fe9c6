"""A small VOC tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data_files.voc import CAR, CHAIRS, EMPTY, RIDER, write_lists


@pytest.fixture
def voc_lists(tmp_path: Path) -> Path:
    """The lists of a VOC2007 tree without Annotations/."""
    return write_lists(tmp_path / "VOCdevkit" / "VOC2007")


@pytest.fixture
def voc_annotations(voc_lists: Path) -> Path:
    """Annotations/ beside the lists."""
    folder = voc_lists.parents[1] / "Annotations"
    folder.mkdir()
    for image, content in {"000005": CHAIRS, "000012": CAR, "000017": RIDER, "000001": EMPTY, "000002": EMPTY}.items():
        (folder / f"{image}.xml").write_text(content.strip())
    return folder
