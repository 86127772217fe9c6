"""Only one process at a time trains in a run folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tagformer.errors import TagformerError
from tagformer.recipes import Recipe
from tagformer.runs.lock import LOCK, Holder, run_lock
from tagformer.training import fit


def write_lock(folder: Path, **changes: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / LOCK).write_text(json.dumps({**asdict(Holder.current()), **changes}))


def test_a_folder_in_use_is_not_trained_in_and_nothing_changes(
    tmp_path: Path, small_recipe: Callable[..., Recipe]
) -> None:
    write_lock(tmp_path / "run")
    for resume in (False, True):
        with pytest.raises(TagformerError, match=rf"run is in use by process {os.getpid()} on .*: wait until"):
            fit(small_recipe(), tmp_path / "run", resume=resume)
    assert [file.name for file in (tmp_path / "run").iterdir()] == [LOCK]


def test_the_lock_of_a_process_that_was_killed_is_replaced(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        write_lock(tmp_path, pid=process.pid, started=0)
        with pytest.raises(TagformerError, match=f"in use by process {process.pid}"), run_lock(tmp_path):
            pass
        process.kill()
        process.wait()
    with run_lock(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_a_process_id_that_is_used_again_is_recognised(tmp_path: Path) -> None:
    if not Holder.current().started:
        pytest.skip("only Linux gives a process's start in /proc")
    write_lock(tmp_path, started=Holder.current().started - 1)
    with run_lock(tmp_path):
        pass


def test_a_process_on_another_host_is_taken_to_run(tmp_path: Path) -> None:
    write_lock(tmp_path, host="elsewhere", pid=999_999_999)
    message = r"process 999999999 on elsewhere: .* If there is no such process, delete .*training\.lock"
    with pytest.raises(TagformerError, match=message), run_lock(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "rubbish", "[]", '{"host": 1}', '{"host": 1, "pid": "x", "started": 0}'])
def test_a_damaged_lock_does_not_stop_anybody(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK).write_text(content)
    with run_lock(tmp_path):
        pass


def test_a_folder_that_stays_empty_is_removed(tmp_path: Path) -> None:
    with run_lock(tmp_path / "a" / "run"):
        assert (tmp_path / "a" / "run" / LOCK).is_file()
    assert not (tmp_path / "a" / "run").exists()


def acquire(folder: Path, start: Any, won: Any) -> None:
    start.wait()
    try:
        with run_lock(folder):
            won.put(os.getpid())
            time.sleep(1)
    except TagformerError:
        pass


def test_of_several_that_find_a_stale_lock_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    write_lock(tmp_path, pid=999_999_999)
    start, won = context.Event(), context.SimpleQueue()
    processes = [context.Process(target=acquire, args=(tmp_path, start, won)) for _ in range(8)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
    won.get()
    assert won.empty()
