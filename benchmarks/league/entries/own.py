"""An entry of ours: the command line ``tagformer train``, with the default or a model by its name."""

from __future__ import annotations

import csv
import inspect
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from exchange import Task, write_predictions, write_report

from tagformer import cli
from tagformer.cli.train import train
from tagformer.evaluation import run_evaluation

DEFAULT = "default"


def arguments_of(task: Task, out: Path) -> list[str]:
    """The arguments of ``tagformer``, without the length of the training."""
    return [
        *("train", "--data", task.spec, "--out", str(out)),
        *("--backbone", task.network, "--weights", task.weights),
        *([] if task.entry == DEFAULT else ["--model", task.entry]),
        *("--set", f"image.size={task.size}", "--set", f"training.seed={task.seed}"),
    ]


def length_arguments(task: Task) -> tuple[list[str], float]:
    """The arguments that make the training as long as the task says, and seconds that do not count.

    They are ``--minutes``. A version of Tagformer without it gets the number of epochs that take this time, from an
    epoch that is measured once for each set and entry.
    """
    if "minutes" in inspect.signature(train).parameters:
        return ["--minutes", f"{task.minutes:g}"], 0.0
    began, started = time.monotonic(), time.time()
    file, key = Path(task.pace), f"{task.set}/{task.entry}"
    pace: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.is_file() else {}
    if key not in pace:
        out = Path(task.folder) / "pace"
        command = [sys.executable, "-m", "tagformer", *arguments_of(task, out), "--set", "training.epochs=1"]
        if code := subprocess.run(command, check=False).returncode:
            sys.exit(code)  # the sentence is the last line of the log
        epoch = float(history(out)[-1]["seconds"])
        pace[key] = {"epoch": epoch, "rest": max(0.0, (out / "model.safetensors").stat().st_mtime - started - epoch)}
        file.write_text(json.dumps(pace))
    epochs = max(1, round((60 * task.minutes - pace[key]["rest"]) / pace[key]["epoch"]))
    return ["--set", f"training.epochs={epochs}"], time.monotonic() - began


def history(run: Path) -> list[dict[str, str]]:
    """The rows of a run's ``history.csv``; none where it has no such file."""
    file = run / "history.csv"
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) if file.is_file() else []


def main() -> None:
    """Train, with a clock around what predicts the test images, and hand the run's logits over."""
    task = Task.of_command_line()
    run = Path(task.folder) / "run"
    length, uncounted = length_arguments(task)
    seconds = 0.0
    evaluate_run = run_evaluation.evaluate_run

    def timed(run: Any, data: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal seconds
        began = time.monotonic()
        evaluation = evaluate_run(run, data, *arguments, **options)
        seconds += time.monotonic() - began if data.split == "test" else 0.0
        return evaluation

    run_evaluation.evaluate_run = timed
    sys.argv = ["tagformer", *arguments_of(task, run), *length]
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise
    with np.load(run / "predictions" / "test.npz", allow_pickle=False) as content:
        about = json.loads(str(content["about"]))
        write_predictions(task.predictions, about["ids"], about["names"], content["logits"])
    rows = history(run)
    images = json.loads((run / "data.json").read_text())["train"]
    how = f"{' '.join(length)}; {len(rows)} epochs"
    write_report(task, how, seconds, len(rows) * images or None, ["torch", "timm"], uncounted)


if __name__ == "__main__":
    main()
