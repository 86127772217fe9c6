"""``tagformer tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from tagformer.cli.console import console, echo, percent, progress_bar, split_to_score
from tagformer.errors import TagformerError, check_choice

FEW = 20  # images a half, below which tuning is mostly chance


def tune(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[str | None, typer.Option(help="FORMAT:PATH; the run's own data when left out.")] = None,
    split: Annotated[str, typer.Option(help="Images that the run was not trained on.")] = "val",
    beta: Annotated[float, typer.Option(min=0.01, help="Best F-beta: above 1 recall counts more.")] = 1.0,
    precision: Annotated[
        float | None, typer.Option(min=0, max=1, help="Instead: the highest recall with at least this precision.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    workers: Annotated[int, typer.Option(min=0)] = 2,
    on_bad_image: Annotated[str, typer.Option(help="error or skip.")] = "error",
) -> None:
    """Choose a threshold for each label and calibrate the probabilities, on held-out images; predict then uses them."""
    import torch

    from tagformer.evaluation import threshold_tuning as tuning
    from tagformer.evaluation.run_evaluation import evaluate_run
    from tagformer.runs.run import LABELS, Run, write_labels

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    loaded = Run.load(run)
    chosen = split_to_score(loaded, data, split, on_bad_image)
    with progress_bar("Evaluating", len(chosen.dataset)) as bar:
        evaluation = evaluate_run(
            loaded, chosen, batch_size=batch_size, workers=workers, on_bad_image=on_bad_image, progress=bar
        )
    if len(evaluation.ids) < 2 * FEW:
        raise TagformerError(
            f"{chosen.spec} has {len(evaluation.ids)} images in its '{chosen.split}' split: too few to tune on; "
            f"give at least {2 * FEW}."
        )
    tuned = tuning.tune(evaluation, beta, precision)
    thresholds = torch.full((len(loaded.label_space),), 0.5)
    thresholds[loaded.label_space.is_target] = tuned.thresholds.values
    write_labels(run, loaded.label_space, thresholds, tuned.temperature, loaded.frequencies)

    table = Table(box=SIMPLE)
    for column in ("%", "macro-F1", "CP", "CR", "OF1", "calibration error"):
        table.add_column(column, justify="left" if column == "%" else "right")
    for title, quality in (("threshold 0.5", tuned.before), ("tuned", tuned.after)):
        own = quality.decisions
        figures = (own.macro_F1, own.CP, own.CR, own.OF1, quality.calibration_error)
        table.add_row(title, *(percent(figure) for figure in figures))
    console.print(table)
    echo(f"{len(evaluation.ids)} images of the {chosen.split} split; each half at what was chosen on the other.")
    echo(f"Temperature {tuned.temperature:.2f}; thresholds from {thresholds.min():.2f} to {thresholds.max():.2f}.")
    for columns, meaning in (
        (tuned.thresholds.undefined, "have no positive or no negative there, and keep 0.5"),
        (tuned.thresholds.unreachable, "do not reach the precision at any threshold, and are never predicted"),
    ):
        if columns:
            echo(f"{len(columns)} labels {meaning}, for example '{evaluation.names[columns[0]]}'.")
    echo(f"Written to {run / LABELS}: 'predict' uses them from now on, and so does 'evaluate --tuned'.")
