"""``tagformer report`` and ``tagformer compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import table as rich
from rich.box import SIMPLE

from tagformer.cli.terminal.console import (
    BatchSize,
    Data,
    OnBadImage,
    RunFolder,
    Split,
    Workers,
    console,
    echo,
    percent,
    progress_bar,
    split_to_score,
)
from tagformer.errors import TagformerError, check_choice

if TYPE_CHECKING:
    from tagformer.evaluation.comparison import Comparison
    from tagformer.evaluation.evaluate import Evaluation
    from tagformer.evaluation.options import EvaluationOptions
    from tagformer.evaluation.run_evaluation import SplitOfRun
    from tagformer.report.tables import Table
    from tagformer.runs.run import Run

CURVE = (0.0, 0.25, 0.5, 0.75)  # known shares of the known-label curve
CHANGED = 5  # how many labels that gain or lose most a comparison lists

Tables = Annotated[Path | None, typer.Option(help="A folder for the tables as Markdown, CSV and LaTeX.")]
Resamples = Annotated[int, typer.Option(min=10, help="Resamples of the images, for the confidence intervals.")]


def report(
    run: RunFolder,
    data: Data = None,
    split: Split = None,
    out: Annotated[Path | None, typer.Option(help="RUN/report.html by default.")] = None,
    tables: Tables = None,
    labels: Annotated[int, typer.Option(min=0, help="How many labels to show with their worst images.")] = 12,
    resamples: Resamples = 1000,
    batch_size: BatchSize = 32,
    workers: Workers = 2,
    on_bad_image: OnBadImage = "error",
) -> None:
    """Show how good a run is and where it fails, in one HTML file."""
    from tagformer.evaluation.options import EvaluationOptions
    from tagformer.files import check_output_file, write_text
    from tagformer.report.page import build_report
    from tagformer.runs.run import REPORT, Run

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    target = out or run / REPORT
    check_output_file(target)
    loaded = Run.load(run)
    options = EvaluationOptions(
        known_shares=CURVE if loaded.uses_known else (),
        batch_size=batch_size,
        workers=workers,
        on_bad_image=on_bad_image,
    )
    scored_split, evaluation = _evaluated(loaded, data, split, options)
    with progress_bar("Drawing", labels) as bar:
        built = build_report(loaded, scored_split, evaluation, labels, resamples, bar)
    write_text(target, built.html)
    where = f"{scored_split.spec}, split {scored_split.split}"
    echo(f"mAP {percent(evaluation.regular.mAP)} on {where}; written to {target}")
    if tables is not None:
        _print_written([built.scores.write(tables, "scores"), built.labels.write(tables, "labels")])


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; the others are compared with the first.")],
    data: Data = None,
    split: Split = None,
    tables: Tables = None,
    resamples: Resamples = 1000,
    batch_size: BatchSize = 32,
    workers: Workers = 2,
    on_bad_image: OnBadImage = "error",
) -> None:
    """Put runs side by side on the same images, with 95 % confidence intervals of their differences."""
    from tagformer.evaluation.comparison import compare as compare_evaluations
    from tagformer.evaluation.options import EvaluationOptions
    from tagformer.runs.run import Run

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    if len(runs) < 2:
        raise TagformerError("compare needs at least two run folders.")
    loaded = [Run.load(folder) for folder in runs]
    data = data or loaded[0].recipe.data.spec
    options = EvaluationOptions(batch_size=batch_size, workers=workers, on_bad_image=on_bad_image)
    evaluations = [_evaluated(run, data, split, options)[1] for run in loaded]
    comparison = compare_evaluations(evaluations, [str(folder) for folder in runs], resamples)
    table = _comparison_table(comparison)
    _print(table)
    echo(table.note)
    if comparison.left_out:
        echo(f"{comparison.left_out} images are not in every run's evaluation, and were left out.")
    for number in range(1, len(comparison.runs)):
        _print_difference(comparison, number)
    if tables is not None:
        _print_written([table.write(tables, "comparison")])


def _comparison_table(comparison: Comparison) -> Table:
    """A row per run: its figures with their confidence intervals."""
    from tagformer.report.tables import Table

    header = ("run", "mAP", "95 %", "difference", "95 % of the difference", "CF1", "OF1")
    rows = []
    for run in comparison.runs:
        difference, interval = "", ""
        if run.difference is not None:
            difference = f"{100 * run.difference.value:+.1f}"
            interval = f"{100 * run.difference.low:+.1f} to {100 * run.difference.high:+.1f}"
        mean_interval = f"{percent(run.mAP.low)} to {percent(run.mAP.high)}"
        figures = run.scores.all
        rows.append((run.name, run.scores.mAP, mean_interval, difference, interval, figures.CF1, figures.OF1))
    note = f"{comparison.images} images, {len(comparison.names)} labels; per cent; paired bootstrap over the images."
    if comparison.left_out:
        note += " Only the images that all runs have count, so mAP may differ from that of 'evaluate' and 'report'."
    return Table("Comparison", header, rows, note)


def _print_difference(comparison: Comparison, number: int) -> None:
    """Print whether a run differs from the first, and in which labels most."""
    first, run = comparison.runs[0], comparison.runs[number]
    verdict = "differ" if run.differs else "cannot be distinguished with 95 % confidence"
    echo(f"{first.name} and {run.name} {verdict}.")
    changes = [(name, after - before) for name, before, after in comparison.label_differences(number)]
    gains = [f"{name} {100 * change:+.1f}" for name, change in changes[:CHANGED] if change > 0]
    losses = [f"{name} {100 * change:+.1f}" for name, change in changes[::-1][:CHANGED] if change < 0]
    for title, labels in (("gains most", gains), ("loses most", losses)):
        if labels:
            echo(f"  {title}: {', '.join(labels)}")


def _evaluated(
    run: Run, data: str | None, split: str | None, options: EvaluationOptions
) -> tuple[SplitOfRun, Evaluation]:
    """A run's evaluation on a split, read back where it is still valid."""
    from tagformer.evaluation.run_evaluation import evaluate_run

    scored_split = split_to_score(run, data, split, options.on_bad_image)
    with progress_bar(f"Evaluating {run.folder.name}", len(scored_split.dataset)) as bar:
        evaluation = evaluate_run(run, scored_split, options, progress=bar)
        bar(len(scored_split.dataset))
    return scored_split, evaluation


def _print(content: Table) -> None:
    from tagformer.report.tables import shown

    table = rich.Table(box=SIMPLE)
    for number, name in enumerate(content.header):
        table.add_column(name, justify="right" if number else "left")
    for row in content.rows:
        table.add_row(*(shown(cell) for cell in row))
    console.print(table)


def _print_written(written: list[list[Path]]) -> None:
    echo(f"Tables: {', '.join(str(path) for paths in written for path in paths)}")
