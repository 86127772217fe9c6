"""``tagformer simulate``: how fast an annotator gets an image's labels right, by the order of the questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from tagformer.cli.console import console, echo, percent, progress_bar, split_to_score
from tagformer.errors import check_choice


def simulate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path, typer.Option(help="A folder for the figures and the picture.")],
    data: Annotated[str | None, typer.Option(help="FORMAT:PATH; the run's own by default.")] = None,
    split: Annotated[str | None, typer.Option(help="The test split by default.")] = None,
    questions: Annotated[int | None, typer.Option(min=1, help="Of each image; half of the labels by default.")] = None,
    images: Annotated[int, typer.Option(min=1, help="How many images at most, evenly over the split.")] = 200,
    orders: Annotated[
        str, typer.Option(help="random, uncertain, informative: which orders to compare.")
    ] = "random,uncertain,informative",
    draws: Annotated[int, typer.Option(min=1, help="How many random orders.")] = 3,
    feedback: Annotated[bool, typer.Option("--feedback", help="Tell any model by feedback propagation.")] = False,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    workers: Annotated[int, typer.Option(min=0)] = 2,
    on_bad_image: Annotated[str, typer.Option(help="error or skip.")] = "error",
) -> None:
    """Ask a simulated annotator about each image, in several orders, and draw what the answers are worth."""
    from tagformer.files import check_output_folder, write_text
    from tagformer.models.feedback import FeedbackPropagation
    from tagformer.report.charts import curves_chart
    from tagformer.runs.run import Run, default_device
    from tagformer.tagging.questions import label_weights
    from tagformer.tagging.simulation import ORDERS, simulate

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    asked = list(dict.fromkeys(order.strip() for order in orders.split(",")))
    for order in asked:
        check_choice("--orders", order, tuple(ORDERS))
    check_output_folder(out)
    loaded = Run.load(run)
    chosen = split_to_score(loaded, data, split, on_bad_image)
    dataset = chosen.dataset.sample_evenly(images)
    model = loaded.model().to(default_device())
    count = questions or max(1, int(loaded.label_space.is_target.sum()) // 2)
    with progress_bar("Asking", len(dataset) * (len(asked) + (draws - 1) * ("random" in asked))) as bar:
        found = simulate(
            FeedbackPropagation(model) if feedback else model,
            dataset,
            loaded.recipe.image,
            questions=count,
            orders=asked,
            seeds=range(draws),
            thresholds=loaded.thresholds,
            temperature=loaded.temperature,
            weights=None if loaded.frequencies is None else label_weights(loaded.frequencies),
            batch_size=batch_size,
            workers=workers,
            on_bad_image=on_bad_image,
            progress=bar,
        )
    means = [found.mean(order) for order in asked]
    steps = sorted({0, *(round(count * share) for share in (0.1, 0.25, 0.5, 0.75, 1))})
    table = Table(title=f"mAP after so many answers, {found.images} images", box=SIMPLE)
    table.add_column("order")
    for number in steps:
        table.add_column(str(number), justify="right")
    for curve in means:
        table.add_row(curve.order, *(percent(curve.mAP[number]) for number in steps))
    console.print(table)
    for order in asked:
        echo(f"  {order}: {ORDERS[order]}")
    write_text(
        out / "simulation.json", json.dumps({"data": chosen.spec, "split": chosen.split, **found.to_dict()}) + "\n"
    )
    lines = [(curve.order, range(count + 1), [100 * value for value in curve.mAP]) for curve in means]
    write_text(out / "simulation.svg", curves_chart(lines, "answers to each image", "mAP, %"))
    echo(f"Figures and picture: {out / 'simulation.json'}, {out / 'simulation.svg'}")
