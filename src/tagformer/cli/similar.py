"""``tagformer similar``: images and labels that are similar for a model."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagformer.cli.terminal.console import (
    BatchSize,
    CacheGb,
    OnBadImage,
    RunFolder,
    Workers,
    echo,
    feature_store,
    progress_bar,
    split_to_score,
)
from tagformer.errors import check_choice
from tagformer.safe_text import spreadsheet_cell

if TYPE_CHECKING:
    from tagformer.data.dataset import MultiLabelDataset
    from tagformer.report.sheets.similar import Row
    from tagformer.runs.run import Run


@dataclass(frozen=True)
class Search:
    """What is searched for, and how the images are read.

    Attributes:
        images: the images to find similar ones for.
        count: how many similar images for each.
        batch_size, workers, on_bad_image: of `similarity.embed`.
        cache_gb: the room for remembered features.
    """

    images: list[Path]
    count: int
    batch_size: int
    workers: int
    on_bad_image: str
    cache_gb: float


@dataclass
class Found:
    """The most similar images, and the maps of the labels.

    Attributes:
        rows: of the sheet, by (image, run).
        table: lines of the CSV.
        charts: a map of the labels per run, as SVG.
    """

    rows: dict[tuple[int, int], Row] = field(default_factory=dict)
    table: list[list[str]] = field(default_factory=list)
    charts: dict[Path, str] = field(default_factory=dict)


def similar(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="A folder for the pictures and tables.")],
    images: Annotated[list[Path] | None, typer.Argument(help="Images to find similar ones for.")] = None,
    beside: Annotated[list[Path] | None, typer.Option(help="Another run, shown below the first.")] = None,
    data: Annotated[
        str | None, typer.Option("--in", help="FORMAT:PATH to search in; the run's own data by default.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The test split by default.")] = None,
    count: Annotated[int, typer.Option(min=1, max=20, help="How many similar images for each.")] = 5,
    batch_size: BatchSize = 32,
    workers: Workers = 2,
    on_bad_image: OnBadImage = "error",
    cache_gb: CacheGb = 20.0,
) -> None:
    """Find the images most similar to some others, and draw which labels are similar.

    similar.png has a row for each image and run, similar.csv the same as a table.

    labels.svg, one per run, shows the labels in the plane (t-SNE of their mean
    features), the most similar pairs, and those that most often occur together.
    """
    from tagformer.files import check_output_folder
    from tagformer.runs.run import Run

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    check_output_folder(out)
    search, found = Search(images or [], count, batch_size, workers, on_bad_image, cache_gb), Found()
    for number, folder in enumerate(dict.fromkeys([run, *(beside or [])])):
        loaded = Run.load(folder)
        dataset = split_to_score(loaded, data, split, on_bad_image).dataset
        chart = _search(search, loaded, dataset, number, found)
        if chart is not None:
            found.charts[out / ("labels.svg" if number == 0 else f"labels-{number + 1}.svg")] = chart
    _write(out, found, search)


def _search(search: Search, run: Run, dataset: MultiLabelDataset, number: int, found: Found) -> str | None:
    """Add the images that are most similar for a run to `found`; the map of the run's labels, if there is one."""
    from tagformer.report.sheets.similar import label_map
    from tagformer.tagging.similarity import embed, nearest
    from tagformer.tagging.tagger import Tagger

    model = run.model()
    tagger = Tagger(model, run.preprocessing(model.backbone), run.thresholds)
    queries = [tagger.embed(image) for image in search.images]  # first, so that a wrong file name is reported at once
    with progress_bar(f"Reading {len(dataset)} images", len(dataset)) as bar:
        embedded = embed(
            tagger.model,
            dataset,
            tagger.preprocessing,
            search.batch_size,
            search.workers,
            search.on_bad_image,
            bar,
            feature_store(run, search.cache_gb),
        )
    for place, (image, query) in enumerate(zip(search.images, queries, strict=True)):
        near = nearest(embedded, query, search.count)
        similar_images = [(dataset.images[row], dataset.ids[row], cosine) for row, cosine in near]
        found.rows[place, number] = (image, run.folder, similar_images)
        found.table += [[str(image), str(run.folder), dataset.ids[row], f"{cosine:.4f}"] for row, cosine in near]
    return label_map(dataset, embedded)


def _write(out: Path, found: Found, search: Search) -> None:
    """Write the sheet, the table and the maps, and print where they are."""
    from tagformer.files import atomic_write, write_text
    from tagformer.report.sheets.similar import FEWEST, write_similar_sheet

    if search.images:
        write_similar_sheet(out / "similar.png", [found.rows[key] for key in sorted(found.rows)], search.count)
        with (
            atomic_write(out / "similar.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as stream,
        ):
            rows = [["image", "run", "similar", "cosine"], *found.table]
            csv.writer(stream).writerows([spreadsheet_cell(cell) for cell in row] for row in rows)
        echo(f"{len(search.images)} images: {out / 'similar.png'} and {out / 'similar.csv'}")
    for file, chart in found.charts.items():
        write_text(file, chart)
    if found.charts:
        echo(f"Labels in the plane: {', '.join(map(str, found.charts))}")
    else:
        echo(f"No map of the labels: fewer than {FEWEST} labels have images that the model can distinguish.")
