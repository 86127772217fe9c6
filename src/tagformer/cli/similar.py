"""``tagformer similar``: which images and which labels a model finds alike."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagformer.cli.console import echo, progress_bar, split_to_score
from tagformer.errors import check_choice

if TYPE_CHECKING:
    from tagformer.report.sheets.similar import Row


def similar(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path, typer.Option(help="A folder for the pictures and tables.")],
    images: Annotated[list[Path] | None, typer.Argument(help="Images to find others like them for.")] = None,
    beside: Annotated[list[Path] | None, typer.Option(help="Another run, shown below the first.")] = None,
    data: Annotated[str | None, typer.Option("--in", help="FORMAT:PATH to look in; the run's own by default.")] = None,
    split: Annotated[str | None, typer.Option(help="The test split by default.")] = None,
    count: Annotated[int, typer.Option(min=1, max=20, help="How many images for each.")] = 5,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    workers: Annotated[int, typer.Option(min=0)] = 2,
    on_bad_image: Annotated[str, typer.Option(help="error or skip.")] = "error",
) -> None:
    """Find the images most like some others, and draw how a model places the labels.

    similar.png has a row for each image and run, similar.csv the same as a table. labels.svg (a file for each run)
    shows what stands for each label, the mean feature of the images with it, in the plane (t-SNE), with the pairs that
    are most alike and those that most often go together.
    """
    from tagformer.files import atomic_write, check_output_folder, write_text
    from tagformer.report.sheets.similar import FEWEST, label_map, write_similar_sheet
    from tagformer.runs.run import Run, default_device
    from tagformer.tagging.similarity import embed, nearest
    from tagformer.tagging.tagger import Tagger

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    check_output_folder(out)
    folders = list(dict.fromkeys([run, *(beside or [])]))
    table: list[list[str]] = []
    rows: dict[tuple[int, int], Row] = {}  # by image and run
    charts: dict[Path, str] = {}
    for number, folder in enumerate(folders):
        loaded = Run.load(folder)
        dataset = split_to_score(loaded, data, split, on_bad_image).dataset
        tagger = Tagger(loaded.model(), loaded.recipe.image, loaded.thresholds, default_device())
        queries = [tagger.embed(image) for image in images or ()]  # a wrong name is found before the others are read
        with progress_bar(f"Looking at {len(dataset)} images", len(dataset)) as bar:
            found = embed(tagger.model, dataset, tagger.image, batch_size, workers, on_bad_image, bar)
        for place, (image, query) in enumerate(zip(images or (), queries, strict=True)):
            near = nearest(found, query, count)
            rows[place, number] = (image, folder, [(dataset.images[row], dataset.ids[row], c) for row, c in near])
            table += [[str(image), str(folder), dataset.ids[row], f"{cosine:.4f}"] for row, cosine in near]
        if (chart := label_map(dataset, found)) is not None:
            charts[out / ("labels.svg" if number == 0 else f"labels-{number + 1}.svg")] = chart
    if images:
        write_similar_sheet(out / "similar.png", [rows[key] for key in sorted(rows)], count)
        with (
            atomic_write(out / "similar.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as stream,
        ):
            csv.writer(stream).writerows([["image", "run", "similar", "cosine"], *table])
        echo(f"{len(images)} images: {out / 'similar.png'} and {out / 'similar.csv'}")
    for file, chart in charts.items():
        write_text(file, chart)
    if charts:
        echo(f"Labels in the plane: {', '.join(map(str, charts))}")
    else:
        echo(f"No map of the labels: fewer than {FEWEST} are shown by images that the model tells apart.")
