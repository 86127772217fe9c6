"""``tagformer simulate``: how fast an annotator gets an image's labels right, by the order of the questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from tagformer.cli.terminal.console import (
    BatchSize,
    CacheGb,
    Data,
    Feedback,
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
from tagformer.errors import check_choice

if TYPE_CHECKING:
    from tagformer.evaluation.run_evaluation import SplitOfRun
    from tagformer.tagging.simulation import Simulation

SHOWN = (0.1, 0.25, 0.5, 0.75, 1)  # shares of the questions after which the table has a column


def simulate(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="A folder for the figures and the picture.")],
    data: Data = None,
    split: Annotated[str | None, typer.Option(help="The test split by default.")] = None,
    questions: Annotated[
        int | None, typer.Option(min=1, help="Questions per image; half of the labels by default.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="How many images at most, evenly spaced over the split.")] = 200,
    orders: Annotated[
        str, typer.Option(help="random, uncertain, informative: which orders to compare.")
    ] = "random,uncertain,informative",
    draws: Annotated[int, typer.Option(min=1, help="How many random orders.")] = 3,
    feedback: Feedback = False,
    batch_size: BatchSize = 32,
    workers: Workers = 2,
    on_bad_image: OnBadImage = "error",
    cache_gb: CacheGb = 20.0,
) -> None:
    """Ask a simulated annotator about each image, in several orders, and draw how the figures rise with the answers."""
    from tagformer.files import check_output_folder
    from tagformer.models.feedback import FeedbackPropagation
    from tagformer.runs.run import Run, default_device
    from tagformer.tagging.questions import label_weights
    from tagformer.tagging.simulation import ORDERS, simulate

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    selected = list(dict.fromkeys(order.strip() for order in orders.split(",")))
    for order in selected:
        check_choice("--orders", order, tuple(ORDERS))
    check_output_folder(out)
    loaded = Run.load(run)
    scored_split = split_to_score(loaded, data, split, on_bad_image)
    dataset = scored_split.dataset.sample_evenly(images)
    model = loaded.model().to(default_device())
    curves = len(selected) + (draws - 1) * ("random" in selected)
    with progress_bar("Asking", len(dataset) * curves) as bar:
        simulation = simulate(
            FeedbackPropagation(model) if feedback else model,
            dataset,
            loaded.preprocessing(model.backbone),
            questions=questions or max(1, int(loaded.label_space.is_target.sum()) // 2),
            orders=selected,
            seeds=range(draws),
            thresholds=loaded.thresholds,
            temperature=loaded.temperature,
            weights=None if loaded.frequencies is None else label_weights(loaded.frequencies),
            batch_size=batch_size,
            workers=workers,
            on_bad_image=on_bad_image,
            store=feature_store(loaded, cache_gb),
            progress=bar,
        )
    _print_table(simulation, selected)
    _write(out, simulation, selected, scored_split)


def _print_table(simulation: Simulation, orders: list[str]) -> None:
    from tagformer.tagging.simulation import ORDERS

    steps = sorted({0, *(round(simulation.questions * share) for share in SHOWN)})
    table = Table(title=f"mAP after so many answers, {simulation.images} images", box=SIMPLE)
    table.add_column("order")
    for step in steps:
        table.add_column(str(step), justify="right")
    for order in orders:
        curve = simulation.mean(order)
        table.add_row(order, *(percent(curve.mAP[step]) for step in steps))
    console.print(table)
    for order in orders:
        echo(f"  {order}: {ORDERS[order]}")


def _write(out: Path, simulation: Simulation, orders: list[str], data: SplitOfRun) -> None:
    from tagformer.files import write_text
    from tagformer.report.charts import curves_chart

    content = {"data": data.spec, "split": data.split, **simulation.to_dict()}
    write_text(out / "simulation.json", json.dumps(content) + "\n")
    answers = range(simulation.questions + 1)
    lines = [(order, answers, [100 * value for value in simulation.mean(order).mAP]) for order in orders]
    write_text(out / "simulation.svg", curves_chart(lines, "answers to each image", "mAP, %"))
    echo(f"Figures and picture: {out / 'simulation.json'}, {out / 'simulation.svg'}")
