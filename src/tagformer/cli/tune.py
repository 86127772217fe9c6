"""``tagformer tune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from tagformer.cli.terminal.console import (
    BatchSize,
    CacheGb,
    Data,
    OnBadImage,
    RunFolder,
    Workers,
    console,
    echo,
    feature_store,
    percent,
    progress_bar,
    split_to_score,
)
from tagformer.errors import TagformerError, check_choice

if TYPE_CHECKING:
    from tagformer.evaluation.threshold_tuning import Tuned

FEW = 20  # images per half, below which tuning is mostly chance


def tune(
    run: RunFolder,
    data: Data = None,
    split: Annotated[str, typer.Option(help="Images that the run was not trained on.")] = "val",
    beta: Annotated[float, typer.Option(min=0.01, help="Maximise F-beta; above 1 recall counts more.")] = 1.0,
    precision: Annotated[
        float | None, typer.Option(min=0, max=1, help="Instead: the highest recall with at least this precision.")
    ] = None,
    batch_size: BatchSize = 32,
    workers: Workers = 2,
    on_bad_image: OnBadImage = "error",
    cache_gb: CacheGb = 20.0,
) -> None:
    """Choose a threshold for each label and calibrate the probabilities, on held-out images; predict then uses them."""
    import torch

    from tagformer.evaluation import threshold_tuning as tuning
    from tagformer.evaluation.options import EvaluationOptions
    from tagformer.evaluation.run_evaluation import evaluate_run
    from tagformer.runs.run import LABELS, Run

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    loaded = Run.load(run)
    scored_split = split_to_score(loaded, data, split, on_bad_image)
    with progress_bar("Evaluating", len(scored_split.dataset)) as bar:
        options = EvaluationOptions(
            batch_size=batch_size,
            workers=workers,
            on_bad_image=on_bad_image,
            store=feature_store(loaded, cache_gb),
        )
        evaluation = evaluate_run(loaded, scored_split, options, progress=bar)
    if len(evaluation.ids) < 2 * FEW:
        raise TagformerError(
            f"{scored_split.spec} has {len(evaluation.ids)} images in its '{scored_split.split}' split: too few to "
            f"tune on; give at least {2 * FEW}."
        )
    tuned = tuning.tune(evaluation, beta, precision)
    thresholds = torch.full((len(loaded.label_space),), 0.5)
    thresholds[loaded.label_space.is_target] = tuned.thresholds.values
    loaded.save_thresholds(thresholds, tuned.temperature)

    console.print(_quality_table(tuned))
    echo(
        f"{len(evaluation.ids)} images of the {scored_split.split} split; each half is scored at the thresholds "
        "chosen on the other."
    )
    echo(f"Temperature {tuned.temperature:.2f}; thresholds from {thresholds.min():.2f} to {thresholds.max():.2f}.")
    for columns, meaning in (
        (tuned.thresholds.undefined, "have no positive or no negative there, and keep 0.5"),
        (tuned.thresholds.unreachable, "do not reach the precision at any threshold, and are never predicted"),
    ):
        if columns:
            echo(f"{len(columns)} labels {meaning}, for example '{evaluation.names[columns[0]]}'.")
    echo(f"Written to {run / LABELS}: 'predict' and 'evaluate --tuned' use them from now on.")


def _quality_table(tuned: Tuned) -> Table:
    table = Table(box=SIMPLE)
    for column in ("%", "macro-F1", "CP", "CR", "OF1", "calibration error"):
        table.add_column(column, justify="left" if column == "%" else "right")
    for title, quality in (("threshold 0.5", tuned.before), ("tuned", tuned.after)):
        decisions = quality.decisions
        figures = (decisions.macro_F1, decisions.CP, decisions.CR, decisions.OF1, quality.calibration_error)
        table.add_row(title, *(percent(figure) for figure in figures))
    return table
