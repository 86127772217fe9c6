"""What the commands share: options, the console, progress bars, and tables of figures."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tagformer.safe_text import printable

if TYPE_CHECKING:
    from tagformer.evaluation.evaluate import Evaluation, GroupsPoint
    from tagformer.evaluation.run_evaluation import SplitOfRun
    from tagformer.features.store import FeatureStore
    from tagformer.runs.run import Run

# Options that several commands have.
RunFolder = Annotated[Path, typer.Argument(help="A run folder.")]
Data = Annotated[str | None, typer.Option(help="FORMAT:PATH; the run's own data by default.")]
Split = Annotated[str | None, typer.Option(help="train, val, test or all; default: test, else val.")]
Feedback = Annotated[
    bool, typer.Option("--feedback", help="Give the model known labels by feedback propagation; works with any model.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch.")]
Workers = Annotated[int, typer.Option(min=0, help="Loader processes.")]
OnBadImage = Annotated[str, typer.Option(help="error or skip.")]
CacheGb = Annotated[
    float,
    typer.Option(min=0, help="Room for remembered features of frozen networks, in GB; 0: remember nothing."),
]

LOW = 0.5  # below this share of mAP, CF1 suffers from the threshold


class SafeConsole(Console):
    """A console that writes out the control characters in names of labels and files, also in tables."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text on the console goes through here."""
        return super().render_str(printable(text), **options)


# Names of labels and files are no markup.
console = SafeConsole(highlight=False, markup=False, emoji=False)
errors = SafeConsole(stderr=True, highlight=False, markup=False, emoji=False)


def echo(line: str) -> None:
    """Print a line; it is not wrapped where the output is not a terminal."""
    console.print(line, soft_wrap=not console.is_terminal)


class Bar:
    """A progress bar on stderr, called with the number done so far."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def __call__(self, done: int) -> None:
        self._progress.update(self._task, completed=done)


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Bar]:
    """Show a progress bar with the remaining time."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=errors.is_terminal) as progress:
        yield Bar(progress, progress.add_task(printable(title), total=total))


def feature_store(run: Run, cache_gb: float) -> FeatureStore | None:
    """Where the features of a run's untrained backbone are remembered, shared with its training and with other runs.

    None where its backbone was trained, so that no other run could use them, or where there is no room.

    Raises:
        TagformerError: the record of the run's stages is damaged.
    """
    from tagformer.features.store import FeatureStore
    from tagformer.training.stages.record import Record

    in_stages = run.recipe.stages is not None
    untrained = Record.load(run.folder).backbone_is_untrained if in_stages else run.recipe.remembers_features
    return FeatureStore(limit_gb=cache_gb, message=echo) if cache_gb and untrained else None


def split_to_score(run: Run, data: str | None, split: str | None, on_bad_image: str = "error") -> SplitOfRun:
    """Load the split as `run_evaluation.load_split` does, and report the run's labels that the data does not have."""
    from tagformer.evaluation.run_evaluation import load_split

    loaded = load_split(run, data, split, on_bad_image)
    if loaded.missing:
        meaning = "absent" if loaded.exhaustive else "unknown"
        example = f"for example '{min(loaded.missing)}'"
        echo(f"{len(loaded.missing)} of the model's labels are not in {loaded.spec} and count as {meaning}, {example}.")
    return loaded


def percent(value: float) -> str:
    """A value between 0 and 1 as a percentage with one digit, as the papers print it."""
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
    for number, (title, decisions, mean) in enumerate(rows):
        figures = (decisions.CP, decisions.CR, decisions.CF1, decisions.OP, decisions.OR, decisions.OF1)
        if number == 0 or not all(math.isnan(figure) for figure in figures):
            table.add_row(title, mean, *(percent(figure) for figure in figures))
    console.print(table)
    _print_notes(evaluation)
    if evaluation.by_groups:
        console.print(_groups_table(evaluation.by_groups))
    if evaluation.known:
        console.print(_known_table(evaluation))
        if evaluation.scored == "fixed":
            echo("The curve scores a quarter of the labels of each image, so its mAP at 0 % is not the one above.")


def advise_tuning(run: Run, evaluation: Evaluation) -> None:
    """Advise to tune where the ranking is good but few labels reach the threshold 0.5."""
    scores = evaluation.regular
    if scores.threshold != 0.5 or not scores.all.CF1 < LOW * scores.mAP:
        return
    folder = shlex.quote(str(run.folder))
    if run.is_tuned:
        cure = f"'tagformer evaluate {folder} --tuned' uses the thresholds that were tuned."
    else:
        cure = f"'tagformer tune {folder}' chooses a threshold for each label."
    echo(f"CF1 is {percent(scores.all.CF1)} with an mAP of {percent(scores.mAP)}: 0.5 is not a good threshold. {cure}")


def _print_notes(evaluation: Evaluation) -> None:
    """What the table does not show: the protocol, sizes of objects, and accuracies of exclusive labels."""
    scores = evaluation.regular
    if scores.protocol != "tagformer":
        echo(f"By the conventions of {scores.protocol}; see docs/metrics.md.")
    if math.isnan(scores.mAP) and scores.labels_scored:
        without = len(evaluation.names) - scores.labels_scored
        echo(f"{scores.protocol} has no mAP here, because {without} labels have no positive image.")
    if evaluation.sizes is not None:
        by_size = ", ".join(f"{size} {percent(value)}" for size, value in evaluation.mAP_by_size.items())
        echo(f"mAP by the size of the objects: {by_size}")
    for group, accuracy in evaluation.accuracy.items():
        echo(f"Accuracy of '{group}' (the highest of labels that exclude each other): {percent(accuracy)}")


def _known_table(evaluation: Evaluation) -> Table:
    what = "one fixed quarter of each image's labels" if evaluation.scored == "fixed" else "the unknown labels"
    table = Table(title=f"mAP over {what}, mean of {len(evaluation.known[0].mAPs)} draws", box=SIMPLE)
    table.add_column("labels known")
    for point in evaluation.known:
        table.add_column(f"{point.known_share:.0%}", justify="right")
    table.add_row("mAP", *(percent(point.mAP) for point in evaluation.known))
    return table


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
