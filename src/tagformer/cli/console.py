"""What the commands share: the console, progress bars, and tables of figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from tagformer.evaluation.evaluate import Evaluation, GroupsPoint
    from tagformer.evaluation.run_evaluation import SplitOfRun
    from tagformer.runs.run import Run

console = Console(highlight=False, markup=False, emoji=False)  # names of labels and files are printed as they are
errors = Console(stderr=True, highlight=False, markup=False, emoji=False)


def echo(line: str) -> None:
    """Print a line, without folding it where the output is not a terminal."""
    console.print(line, soft_wrap=not console.is_terminal)


class Bar:
    """A progress bar on stderr that takes the number done so far."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def __call__(self, done: int) -> None:
        self._progress.update(self._task, completed=done)


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Bar]:
    """Show a progress bar with the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=errors.is_terminal) as progress:
        yield Bar(progress, progress.add_task(title, total=total))


def split_to_score(run: Run, data: str | None, split: str | None, on_bad_image: str = "error") -> SplitOfRun:
    """As `predictions.load_split`, and say which of the model's labels the data does not have."""
    from tagformer.evaluation.run_evaluation import load_split

    chosen = load_split(run, data, split, on_bad_image)
    if chosen.missing:
        meaning = "absent" if chosen.exhaustive else "unknown"
        example = f"for example '{min(chosen.missing)}'"
        echo(f"{len(chosen.missing)} of the model's labels are not in {chosen.spec} and count as {meaning}, {example}.")
    return chosen


def percent(value: float) -> str:
    """A fraction as a percentage with one digit, as the papers print it."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def print_scores(evaluation: Evaluation) -> None:
    """The papers' table, and the known-label curve where there is one."""
    scores = evaluation.regular
    table = Table(box=SIMPLE)
    for name in ("%", "mAP", "CP", "CR", "CF1", "OP", "OR", "OF1"):
        table.add_column(name, justify="left" if name == "%" else "right")
    rows = (
        (f"all, threshold {scores.threshold:.3g}", scores.all, percent(scores.mAP)),
        (f"top {scores.top_k}", scores.top, ""),
        (f"top {scores.top_k} above the threshold", scores.top_above, ""),
    )
    for number, (title, part, first) in enumerate(rows):
        figures = (part.CP, part.CR, part.CF1, part.OP, part.OR, part.OF1)
        if number == 0 or not all(math.isnan(figure) for figure in figures):
            table.add_row(title, first, *(percent(figure) for figure in figures))
    console.print(table)
    if scores.protocol != "tagformer":
        echo(f"By the conventions of {scores.protocol}; see docs/metrics.md.")
    if math.isnan(scores.mAP) and scores.labels_scored:
        without = len(evaluation.names) - scores.labels_scored
        echo(f"{scores.protocol} has no mAP here, for {without} labels have no positive.")
    if evaluation.sizes is not None:
        own = ", ".join(f"{size} {percent(value)}" for size, value in evaluation.mAP_by_size.items())
        echo(f"mAP by the size of the objects: {own}")
    for group, accuracy in evaluation.accuracy.items():
        echo(f"Accuracy of '{group}' (the highest of labels that exclude each other): {percent(accuracy)}")
    if evaluation.by_groups:
        console.print(_groups_table(evaluation.by_groups))
    if evaluation.known:
        what = "one fixed quarter of each image's labels" if evaluation.scored == "fixed" else "the unknown labels"
        curve = Table(title=f"mAP over {what}, mean of {len(evaluation.known[0].mAPs)} draws", box=SIMPLE)
        curve.add_column("labels known")
        for point in evaluation.known:
            curve.add_column(f"{point.fraction:.0%}", justify="right")
        curve.add_row("mAP", *(percent(point.mAP) for point in evaluation.known))
        console.print(curve)


def _groups_table(points: Sequence[GroupsPoint]) -> Table:
    table = Table(title=f"With groups of extra labels known, mean of {len(points[0].mAPs)} draws", box=SIMPLE)
    table.add_column("groups known")
    for point in points:
        table.add_column(str(point.count), justify="right")
    table.add_row("mAP", *(percent(statistics.fmean(point.mAPs)) for point in points))
    for group in points[0].accuracies:
        accuracies = (statistics.fmean(point.accuracies[group]) for point in points)
        table.add_row(f"accuracy of '{group}'", *map(percent, accuracies))
    return table
