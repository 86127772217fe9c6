"""``tagformer similar``: which images and which labels a model finds alike."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagformer.cli.console import progress_bar, say, split_to_score
from tagformer.errors import check_choice

if TYPE_CHECKING:
    from tagformer.data.record import ImageSource, MultiLabelDataset
    from tagformer.similar import Embedded

Row = tuple[Path, Path, list[tuple["ImageSource", str, float]]]  # image, run, and the others: image, id, cosine
PERPLEXITY = 10.0  # of t-SNE: about so many labels count as a label's neighbours
PAIRS = 10
FEWEST = 4  # labels on a map
SPREAD = 1e-6  # t-SNE divides by it


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
    from tagformer.files import refuse_no_folder, replacing, write_text
    from tagformer.run import Run, default_device
    from tagformer.similar import embed, nearest
    from tagformer.tagger import Tagger

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    refuse_no_folder(out)
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
        if (chart := _label_map(dataset, found)) is not None:
            charts[out / ("labels.svg" if number == 0 else f"labels-{number + 1}.svg")] = chart
    if images:
        _write_sheet(out / "similar.png", [rows[key] for key in sorted(rows)], count)
        with replacing(out / "similar.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([["image", "run", "similar", "cosine"], *table])
        say(f"{len(images)} images: {out / 'similar.png'} and {out / 'similar.csv'}")
    for file, chart in charts.items():
        write_text(file, chart)
    if charts:
        say(f"Labels in the plane: {', '.join(map(str, charts))}")
    else:
        say(f"No map of the labels: fewer than {FEWEST} are shown by images that the model tells apart.")


def _write_sheet(path: Path, rows: list[Row], count: int) -> None:
    """A row for each image and run: the image, then those most like it."""
    from PIL import Image

    from tagformer.data.images import load_image
    from tagformer.report.contact_sheet import PLAIN, Line, write_contact_sheet

    pictures, lines = [], []
    for image, run, near in rows:
        own: list[list[Line]] = [[(image.name, PLAIN), (str(run), PLAIN)]]
        own += [[(f"{cosine:.2f} {name}", PLAIN)] for _, name, cosine in near]
        shown = [load_image(source) for source in (image, *(source for source, _, _ in near))]
        blank = count + 1 - len(shown)
        pictures += [*shown, *(Image.new("RGB", (1, 1), "white") for _ in range(blank))]
        lines += [*own, *([] for _ in range(blank))]
    write_contact_sheet(path, pictures, lines, columns=count + 1)


def _label_map(dataset: MultiLabelDataset, found: Embedded) -> str | None:
    """The chart of the labels that some image shows; None for fewer than four, or where all are in one place."""
    import numpy as np
    from sklearn.manifold import TSNE

    from tagformer.report.charts import BLUE, ORANGE, label_map_chart
    from tagformer.similar import co_occurring_pairs, prototypes, similar_pairs

    labels = dataset.labels[found.rows][:, dataset.label_space.is_target]
    names = [name for name in dataset.label_space.names if name not in dataset.label_space.extra]
    shown = (labels == 1).any(dim=0)
    if int(shown.sum()) < FEWEST:
        return None
    labels, names = labels[:, shown], [name for name, here in zip(names, shown.tolist(), strict=True) if here]
    stands = prototypes(found.features, labels)
    if stands.std(dim=0).max() < SPREAD:
        return None
    perplexity = min(PERPLEXITY, (len(names) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(stands.numpy())
    pairs = [
        ("look alike", BLUE, similar_pairs(stands, min(PAIRS, len(names) // 2))),
        ("go together", ORANGE, co_occurring_pairs(labels, min(PAIRS, len(names) // 2))),
    ]
    return label_map_chart(np.asarray(places), names, pairs)
