"""The results file: a JSON object a line for each finished run, so a league can be interrupted and goes on later."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tagformer.errors import TagformerError

Key = tuple[str, str, int, float]
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Result:
    """A finished run of one entry.

    Attributes:
        set, entry, seed, minutes: what was run; `minutes` is the time that was given.
        mAP, CF1, OF1: of the test split, as fractions, over the `labels` labels that count.
        labels: their number.
        train_minutes: wall time from the start of the process to its end, without `predict_seconds`.
        predict_seconds: wall time of predicting the test split.
        cpu_minutes: time of all processor cores together; far below `train_minutes` times the cores where other work
            used the machine too.
        images_per_second: training images that went through the network, each epoch and view counted, per second of
            `train_minutes`; None where an entry does not say.
        how: what was chosen.
        commit, cpu, date, versions: of the code, the machine, the end of the run, the packages.
    """

    set: str
    entry: str
    seed: int
    minutes: float
    mAP: float  # noqa: N815
    CF1: float
    OF1: float
    labels: int
    train_minutes: float
    predict_seconds: float
    cpu_minutes: float
    images_per_second: float | None
    how: str
    commit: str
    cpu: str
    date: str
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What identifies a run: a later result with the same key replaces an earlier one."""
        return self.set, self.entry, self.seed, self.minutes


def read_results(file: Path) -> list[Result]:
    """The results of a file, one for each key, the last one; none if there is no file.

    A last line without an end, of a run that was killed while writing, is left out.

    Raises:
        TagformerError: a line is not a result.
    """
    if not file.is_file():
        return []
    names = {value.name for value in fields(Result)}
    results: dict[Key, Result] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break
        try:
            content = json.loads(line)
            result = Result(**{name: value for name, value in content.items() if name in names})
        except (ValueError, TypeError, AttributeError) as error:
            raise TagformerError(f"{file}, line {number} is not a result ({error}): correct or delete it.") from error
        results.pop(result.key, None)
        results[result.key] = result
    return list(results.values())


def append_result(file: Path, result: Result) -> None:
    """Add a line to the results file; what a killed run left of a line is removed before."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab+") as stream:
        stream.seek(0)
        complete = stream.read().rpartition(b"\n")
        stream.truncate(len(complete[0] + complete[1]))
        stream.write((json.dumps(asdict(result)) + "\n").encode())


def missing(keys: Iterable[Key], results: Iterable[Result]) -> list[Key]:
    """The keys that have no result yet, in their order."""
    finished = {result.key for result in results}
    return [key for key in keys if key not in finished]


def about_code_and_machine() -> dict[str, Any]:
    """The commit of this code (with "+" where files of ``src`` were changed since) and the processor."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changed = "+" if git("status", "--porcelain", "--", "src") else ""
    return {"commit": (git("rev-parse", "--short", "HEAD") or "unknown") + changed, "cpu": _processor()}


def _processor() -> str:
    """The name of the processor and the number of its cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {cores} cores"
