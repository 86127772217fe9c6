"""``tagformer report`` and ``tagformer compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import table as rich
from rich.box import SIMPLE

from tagformer.cli.console import console, echo, percent, progress_bar, split_to_score
from tagformer.errors import TagformerError, check_choice

if TYPE_CHECKING:
    from tagformer.evaluation.evaluate import Evaluation
    from tagformer.evaluation.run_evaluation import SplitOfRun
    from tagformer.report.tables import Table
    from tagformer.runs.run import Run

CURVE = (0.0, 0.25, 0.5, 0.75)  # of the known-label curve
CHANGED = 5  # labels that gain and lose most, in a comparison

RunFolder = Annotated[Path, typer.Argument(help="A run folder.")]
Data = Annotated[str | None, typer.Option(help="FORMAT:PATH; the run's own data when left out.")]
Split = Annotated[str | None, typer.Option(help="train, val, test or all; test where there is one.")]
Tables = Annotated[Path | None, typer.Option(help="A folder for the tables as Markdown, CSV and LaTeX.")]
Resamples = Annotated[int, typer.Option(min=10, help="Of the images, for the confidence intervals.")]
BatchSize = Annotated[int, typer.Option(min=1)]
Workers = Annotated[int, typer.Option(min=0)]
OnBadImage = Annotated[str, typer.Option(help="error or skip.")]


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
    from tagformer.files import check_output_file, write_text
    from tagformer.report.page import build_report
    from tagformer.runs.run import REPORT, Run

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    target = out or run / REPORT
    check_output_file(target)
    loaded = Run.load(run)
    chosen, evaluation = _evaluated(loaded, data, split, True, batch_size, workers, on_bad_image)
    with progress_bar("Drawing", labels) as bar:
        built = build_report(loaded, chosen, evaluation, labels, resamples, bar)
    write_text(target, built.html)
    echo(f"mAP {percent(evaluation.regular.mAP)} on {chosen.spec}, split {chosen.split}; written to {target}")
    if tables is not None:
        _say_written([built.scores.write(tables, "scores"), built.labels.write(tables, "labels")])


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; the others are held against the first.")],
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
    from tagformer.report.tables import Table
    from tagformer.runs.run import Run

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    if len(runs) < 2:
        raise TagformerError("compare needs at least two run folders.")
    loaded = [Run.load(each) for each in runs]
    data = data or loaded[0].recipe.data.spec
    evaluations = [_evaluated(run, data, split, False, batch_size, workers, on_bad_image)[1] for run in loaded]
    names = [str(each) for each in runs]
    found = compare_evaluations(evaluations, names, resamples)
    header = ("run", "mAP", "95 %", "difference", "95 % of the difference", "CF1", "OF1")
    rows = []
    for each in found.runs:
        difference, span = "", ""
        if each.difference is not None:
            difference = f"{100 * each.difference.value:+.1f}"
            span = f"{100 * each.difference.low:+.1f} to {100 * each.difference.high:+.1f}"
        own = f"{percent(each.mAP.low)} to {percent(each.mAP.high)}"
        rows.append((each.name, each.scores.mAP, own, difference, span, each.scores.all.CF1, each.scores.all.OF1))
    note = f"{found.images} images, {len(found.names)} labels; per cent; paired bootstrap over the images."
    _print(content := Table("Comparison", header, rows, note))
    echo(note)
    if found.left_out:
        echo(f"{found.left_out} images are not in every run's evaluation, and were left out.")
    for number, each in enumerate(found.runs[1:], start=1):
        verdict = "differ" if each.differs else "cannot be told apart with 95 % confidence"
        echo(f"{names[0]} and {each.name} {verdict}.")
        changes = found.label_differences(number)
        for title, part in (("gains most", changes[:CHANGED]), ("loses most", changes[::-1][:CHANGED])):
            changed = [
                f"{name} {100 * (b - a):+.1f}" for name, a, b in part if (b > a) == (title == "gains most") and a != b
            ]
            if changed:
                echo(f"  {title}: {', '.join(changed)}")
    if tables is not None:
        _say_written([content.write(tables, "comparison")])


def _evaluated(
    run: Run, data: str | None, split: str | None, curve: bool, batch_size: int, workers: int, on_bad_image: str
) -> tuple[SplitOfRun, Evaluation]:
    """What a run says of a split, read back where it is still true."""
    from tagformer.evaluation.run_evaluation import evaluate_run

    chosen = split_to_score(run, data, split, on_bad_image)
    with progress_bar(f"Evaluating {run.folder.name}", len(chosen.dataset)) as bar:
        evaluation = evaluate_run(
            run,
            chosen,
            fractions=CURVE if curve and run.uses_known else (),
            batch_size=batch_size,
            workers=workers,
            on_bad_image=on_bad_image,
            progress=bar,
        )
        bar(len(chosen.dataset))
    return chosen, evaluation


def _print(content: Table) -> None:
    from tagformer.report.tables import shown

    table = rich.Table(box=SIMPLE)
    for number, name in enumerate(content.header):
        table.add_column(name, justify="right" if number else "left")
    for row in content.rows:
        table.add_row(*(shown(cell) for cell in row))
    console.print(table)


def _say_written(written: list[list[Path]]) -> None:
    echo(f"Tables: {', '.join(str(path) for paths in written for path in paths)}")
