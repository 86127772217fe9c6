"""Running the entries one after the other, each in a process of its own, and keeping their figures."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from league.entries.exchange import Task
from league.environments import RIVALS, python_of
from league.results import ROOT, Key, Result, about_code_and_machine, append_result
from league.scoring import score
from league.sets import Data, get_set, load_data, task_content
from tagformer.errors import TagformerError, did_you_mean
from tagformer.files import write_json

DEFAULT_FOLDER = Path("~/.cache/tagformer/league").expanduser()
OWN = ("default", "linear", "csra", "cat", "query2label", "ml_decoder", "ctran")  # of tagformer train
ENTRIES = (*OWN, "probe", *RIVALS)
SCRIPTS = {"probe": "probe.py", "fastai": "fastai_entry.py", "lightlytrain": "lightlytrain_entry.py"}


@dataclass(frozen=True)
class Places:
    """The folders and files of a league.

    Attributes:
        results: the results file.
        work: where predictions, logs and what is being trained lie.
        environments: of the rivals.
    """

    results: Path
    work: Path
    environments: Path


def planned(sets: Sequence[str], entries: Sequence[str], seeds: Sequence[int], minutes: dict[str, float]) -> list[Key]:
    """The runs in their order: one seed after the other, so that an interrupted league has whole rounds.

    Raises:
        TagformerError: an unknown set or entry.
    """
    for entry in entries:
        if entry not in ENTRIES:
            raise TagformerError(f"unknown entry '{entry}'{did_you_mean(entry, ENTRIES)}: use {', '.join(ENTRIES)}.")
    times = {name: float(minutes.get(name, get_set(name).minutes)) for name in sets}
    return [(name, entry, seed, times[name]) for seed in seeds for name in sets for entry in entries]


def run_all(keys: Sequence[Key], places: Places) -> list[str]:
    """Run the entries, and add each result to the file as soon as it is there.

    Returns:
        One sentence for each entry that failed; the others are run all the same.

    Raises:
        TagformerError: no data, no weights, or no environment.
    """
    failures: list[str] = []
    for entry in dict.fromkeys(key[1] for key in keys):
        python_of(entry, places.environments)
    data: dict[str, Data] = {}
    for number, key in enumerate(keys, 1):
        name, entry, seed, minutes = key
        if name not in data:
            data = {name: load_data(name)}
        print(f"[{number} of {len(keys)}] {name}, {entry}, seed {seed}, {minutes:g} minutes ...", flush=True)
        try:
            result = run(key, data[name], places)
        except TagformerError as error:
            failures.append(f"{name}, {entry}, seed {seed}: {error}")
            print(f"  failed: {error}", flush=True)
            continue
        append_result(places.results, result)
        print(
            f"  mAP {result.mAP:.1%}  CF1 {result.CF1:.1%}  OF1 {result.OF1:.1%}  {result.train_minutes:.2f} minutes, "
            f"test {result.predict_seconds:.0f} s; {result.how}",
            flush=True,
        )
    return failures


def run(key: Key, data: Data, places: Places) -> Result:
    """Train an entry in a process of its own, and score its predictions.

    Raises:
        TagformerError: the process failed; the sentence names its log.
    """
    name, entry, seed, minutes = key
    title = f"{name}-{entry}-{seed}-{minutes:g}"
    for folder in ("predictions", "logs", "running"):
        (places.work / folder).mkdir(parents=True, exist_ok=True)
    predictions, log = places.work / "predictions" / f"{title}.npz", places.work / "logs" / f"{title}.log"
    about = about_code_and_machine()
    with tempfile.TemporaryDirectory(prefix=f"{title}-", dir=places.work / "running") as temporary:
        folder = Path(temporary)
        (folder / "work").mkdir()
        task = Task(
            **task_content(name, data),
            entry=entry,
            seed=seed,
            minutes=minutes,
            started=time.time(),
            folder=str(folder / "work"),
            pace=str(places.work / "pace.json"),
            predictions=str(predictions),
            report=str(folder / "report.json"),
        )
        write_json(folder / "task.json", asdict(task))
        script = ROOT / "benchmarks" / "league" / "entries" / SCRIPTS.get(entry, "own.py")
        command = [str(python_of(entry, places.environments)), str(script), str(folder / "task.json")]
        began, cpu_before = time.monotonic(), _cpu_seconds()
        with log.open("w", encoding="utf-8") as stream:
            code = _wait(command, environment(entry, folder, places.work), stream)
        seconds, cpu_seconds = time.monotonic() - began, _cpu_seconds() - cpu_before
        if code:
            lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            raise TagformerError(f"it ended with code {code} ({lines[-1].strip() if lines else 'no output'}; {log}).")
        report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    scores = score(predictions, data)
    counted = seconds - report["predict_seconds"] - report["uncounted_seconds"]
    return Result(
        *key,
        mAP=scores.mAP,
        CF1=scores.all.CF1,
        OF1=scores.all.OF1,
        labels=int(data.scored.sum()),
        train_minutes=counted / 60,
        predict_seconds=report["predict_seconds"],
        cpu_minutes=cpu_seconds / 60,
        images_per_second=None if report["visits"] is None else report["visits"] / counted,
        how=report["how"],
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=report["versions"],
        **about,
    )


def environment(entry: str, folder: Path, work: Path) -> dict[str, str]:
    """The environment variables of an entry's process.

    Every run starts cold: what one run remembers (features of images, for example) is not there for the next. The fonts
    of matplotlib are an exception, for they have nothing to do with a training. Nothing is downloaded or reported.
    """
    values = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TAGFORMER_CACHE")}
    values |= {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "MPLCONFIGDIR": str(work / "matplotlib"),
        "HF_HUB_OFFLINE": "1",
        "LIGHTLY_TRAIN_EVENTS_DISABLED": "1",
        "LIGHTLY_TRAIN_CACHE_DIR": str(folder / "cache"),
    }
    if entry not in RIVALS:
        values["PYTHONPATH"] = str(ROOT / "src")
    return values


def _wait(command: Sequence[str], variables: dict[str, str], log: Any) -> int:
    """Run a command to its end; the exit code. At Ctrl-C it is ended with all processes that it started."""
    process = subprocess.Popen(
        command, env=variables, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _cpu_seconds() -> float:
    """Processor time of all processes that were started from here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
