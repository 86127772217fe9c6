"""A small COCO tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data_files.coco import annotation, instances, write


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A COCO tree: a train split of three images, one of them without annotations, and a val split of one."""
    train = instances(
        [
            annotation(1, 10, 18, (20, 10, 40, 50), area=900.0),
            annotation(2, 10, 18, (0, 0, 60, 60), area=3000.0),
            annotation(3, 10, 1, (0, 0, 10, 10), area=50.0),
            annotation(4, 12, 17, (0, 0, 200, 100), area=20000.0, iscrowd=1),
        ]
    )
    val = instances([annotation(7, 10, 1, (0, 0, 100, 100), area=9216.0)], images=1)
    write(tmp_path / "annotations" / "instances_train2017.json", train)
    write(tmp_path / "annotations" / "instances_val2017.json", val)
    return tmp_path
