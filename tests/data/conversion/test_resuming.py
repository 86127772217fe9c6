"""Conversions that are stopped at any moment continue, and write the same files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tagformer.data import convert, load_dataset, write_dataset
from tagformer.data.formats._common.writer import PART_ROWS
from tagformer.errors import TagformerError
from tests.data_files.conversions import (
    COUNT,
    FORMATS,
    Stop,
    smooth,
    stopping,
    tree,
)
from tests.helpers import CommandLine


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [None, 20])
def test_what_was_stopped_continues_and_comes_out_the_same(
    table: Path, tmp_path: Path, form: str, size: int | None
) -> None:
    options = {"size": size, "part_bytes": 2000}
    convert(str(table), f"{form}:{tmp_path / 'whole'}", **options)  # type: ignore[arg-type]
    expected = tree(tmp_path / "whole")
    for after in (1, 4, 8, 11, COUNT):
        target = f"{form}:{tmp_path / f'stopped {after}'}"
        with pytest.raises(Stop):
            convert(str(table), target, **options, progress=stopping(after))  # type: ignore[arg-type]
        folder = tmp_path / f"stopped {after}"
        assert not (folder / "labels.json").exists()
        assert not [name for name in tree(folder) if name.endswith((".tar", ".csv", ".jsonl", ".parquet"))]
        begun: list[int] = []
        convert(str(table), target, **options, progress=lambda done, total: begun.append(done))  # type: ignore[arg-type]  # noqa: B023
        assert tree(folder) == expected
        if after >= 4:
            assert begun[0] >= 1, "the first part is not written again"
        assert begun[-1] == COUNT


@pytest.mark.parametrize("form", FORMATS)
def test_a_stop_while_the_parts_are_put_together_does_no_harm(
    table: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(str(table), f"{form}:{tmp_path / 'whole'}", size=20, part_bytes=2000)
    expected = tree(tmp_path / "whole")
    real = os.replace
    for stop in range(1, 60):
        seen = 0

        def failing(*arguments: object) -> None:
            nonlocal seen
            seen += 1
            if seen == stop:  # noqa: B023
                raise Stop
            real(*arguments)  # type: ignore[arg-type]

        target = tmp_path / "stopped"
        with monkeypatch.context() as patched:
            patched.setattr("os.replace", failing)
            patched.setattr(Path, "replace", lambda path, place: failing(path, place))
            try:
                convert(str(table), f"{form}:{target}", size=20, part_bytes=2000, workers=1)
            except Stop:
                continue  # each time a step further than the last
            break
    assert seen < stop < 59
    assert tree(target) == expected


def test_a_killed_command_continues(tmp_path: Path, tagformer: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed without any warning, in the middle of its images."""
    folder = tmp_path / "data"
    folder.mkdir()
    count = 1200
    for number in range(count):
        smooth(60, 40, number).save(folder / f"{number}.jpg")
    (folder / "my.csv").write_text("path,tags\n" + "".join(f"{number}.jpg,a{number % 3}\n" for number in range(count)))
    arguments = ["data", "convert", f"csv:{folder / 'my.csv'}", f"jsonl:{tmp_path / 'killed'}", "--size", "20"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tagformer", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    parts = tmp_path / "killed" / ".conversion" / "parts"
    while not (parts / "all-000001.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert not (tmp_path / "killed" / "all.jsonl").exists()
    assert not (tmp_path / "killed" / ".conversion" / "finished.json").exists()
    done = len(list((tmp_path / "killed" / "images").iterdir()))
    assert 0 < done < count
    monkeypatch.setattr("tagformer.data.formats._common.writer.PART_ROWS", PART_ROWS)  # as in the other process
    code, printed, _ = tagformer(*arguments)
    assert code == 0
    assert f"{count} images" in printed
    other = [*arguments[:3], f"jsonl:{tmp_path / 'whole'}", *arguments[4:]]
    assert tagformer(*other)[0] == 0
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


@pytest.mark.parametrize("form", FORMATS)
def test_any_number_of_workers_writes_the_same(table: Path, tmp_path: Path, form: str) -> None:
    found = []
    for workers in (1, 2, 7):
        convert(str(table), f"{form}:{tmp_path / str(workers)}", size=20, workers=workers, part_bytes=2000)
        found.append(tree(tmp_path / str(workers)))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 3


def test_a_finished_conversion_is_not_done_again(table: Path, tmp_path: Path) -> None:
    target = f"shards:{tmp_path / 'out'}"
    written = convert(str(table), target)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert convert(str(table), target, progress=stopping(0)) == written
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_a_disk_that_cannot_be_written_is_named(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(
            TagformerError,
            match=r"cannot write somewhere \(No space left on device\): fix that, and run the same command again",
        ):
            convert(str(table), f"csv:{tmp_path / 'out'}", size=20)
    convert(str(table), f"csv:{tmp_path / 'out'}", size=20)


def test_data_in_memory_can_be_stopped_too(table: Path, tmp_path: Path) -> None:
    parts = {"train": load_dataset("scenes?images=6", "train")}
    with pytest.raises(Stop):
        write_dataset(parts, f"csv:{tmp_path / 'out'}", progress=stopping(4))
    write_dataset(parts, f"csv:{tmp_path / 'out'}")
    write_dataset(parts, f"csv:{tmp_path / 'whole'}")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
