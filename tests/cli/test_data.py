"""The command line: ``tagformer data convert``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagformer.data import convert
from tagformer.data.conversion import worker
from tests.data_files.conversions import (
    tree,
    write_pictures,
)
from tests.helpers import CommandLine


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 14 pictures, 8 for training and 6 for the test."""
    return write_pictures(tmp_path / "data")


def test_the_command_converts_and_prints_what_it_wrote(table: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    (table.parent / "02.png").write_bytes(b"not an image")
    target = f"coco:{tmp_path / 'out'}"
    arguments = ["data", "convert", f"csv:{table}", target, "--size", "20", "--workers", "2"]
    code, _, problem = tagformer(*arguments)
    assert code == 2
    assert "02.png is not an image" in problem.splitlines()[-1]
    assert "--on-bad-image skip" in problem
    assert "Traceback" not in problem
    code, printed, _ = tagformer(*arguments, "--on-bad-image", "skip")
    assert code == 0
    assert f"{target}: 7 train, 6 test images" in printed
    assert "Left out: 1 images that cannot be read." in printed
    code, printed, _ = tagformer("data", target)
    assert code == 0
    assert f"{target}, split train: 7 images, 2 labels" in printed
    code, _, problem = tagformer(*arguments[:4], "--quality", "50")
    assert code == 2
    assert problem.count("\n") == 1
    assert "replace it with --overwrite" in problem


def test_the_help_shows_both_uses(tagformer: CommandLine) -> None:
    code, printed, _ = tagformer("data", "--help")
    assert code == 0
    assert "describe" in printed
    assert "convert" in printed
    code, printed, _ = tagformer("data", "convert", "--help")
    assert code == 0
    assert "--on-bad-image" in printed
    assert "tagformer data convert" in tagformer("data")[1]


def test_ctrl_c_explains_how_to_continue(
    table: Path, tmp_path: Path, tagformer: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = worker.as_it_is, 0

    def interrupted(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    arguments = ["data", "convert", str(table), f"shards:{tmp_path / 'out'}"]
    with monkeypatch.context() as patched:
        patched.setattr(worker, "as_it_is", interrupted)
        code, _, problem = tagformer(*arguments)
    assert code == 130
    assert "run the same command again to continue" in problem
    assert tagformer(*arguments)[0] == 0
    convert(str(table), f"shards:{tmp_path / 'whole'}")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
