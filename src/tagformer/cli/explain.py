"""``tagformer explain``: where in an image a model sees its labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagformer.cli.console import progress_bar, say, split_to_score
from tagformer.cli.predict import find_images
from tagformer.errors import TagformerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tagformer.data.record import ImageSource
    from tagformer.explaining import Explanation
    from tagformer.run import Run

Chosen = tuple[list[str], "Sequence[ImageSource]", "Sequence[list[str] | None]"]  # names, images, their true labels


def explain(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path, typer.Option(help="A folder for the sheet and the maps.")],
    images: Annotated[
        list[str] | None, typer.Argument(help="Files, folders or globs; without any, images of the test split.")
    ] = None,
    beside: Annotated[list[Path] | None, typer.Option(help="Another run, shown below the first on each image.")] = None,
    data: Annotated[str | None, typer.Option(help="FORMAT:PATH, for images with their labels; the run's own.")] = None,
    split: Annotated[str | None, typer.Option(help="The test split by default.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many images of the split, evenly over it.")] = 8,
    labels: Annotated[str | None, typer.Option(help="dog,cat: these labels, instead of those predicted.")] = None,
    most: Annotated[int, typer.Option(min=1, help="How many labels of an image at most.")] = 5,
    known: Annotated[list[str] | None, typer.Option(help="Labels that are known: dog=yes,cat=no.")] = None,
) -> None:
    """Draw heat maps of the labels that are predicted, and of those that are missed, over the images.

    heat_maps.png has a row for each image and run: labels that are right in green, wrong in brown, missed in red.
    heat_maps.npz has the maps themselves. For image I and run R, both counted from 0: I/image is its path or id,
    I/R/labels and I/R/probabilities are of K labels, I/R/maps is (K, h, w) over the part I/R/region of the image.
    """
    import numpy as np

    from tagformer.data.images import load_image
    from tagformer.files import replacing
    from tagformer.known import parse_known
    from tagformer.report.heat_sheet import write_heat_sheet
    from tagformer.run import Run
    from tagformer.tagger import Tagger

    if out.exists() and not out.is_dir():
        raise TagformerError(f"{out} is a file: name a folder for --out.")
    folders = list(dict.fromkeys([run, *(beside or [])]))
    if images and (data or split):
        raise TagformerError("name images, or --data and --split, not both.")
    names, sources, truths = _named(images) if images else _of_split(Run.load(run), data, split, count)
    told = parse_known(known or ())
    asked = [name.strip() for name in labels.split(",")] if labels else []
    taggers = [Tagger.load(folder) for folder in folders]
    pictures, explanations = [], []
    with progress_bar("Explaining", len(sources)) as bar:
        for number, (source, truth) in enumerate(zip(sources, truths, strict=True)):
            picture = load_image(source)
            several = []
            for tagger in taggers:
                predicted = [tag.name for tag in tagger.predict(picture, told)[0].tags]
                missed = [name for name in truth or () if name not in predicted and name in tagger.label_space.names]
                several.append(tagger.explain(picture, (asked or [*predicted, *missed])[:most], told))
            pictures.append(picture)
            explanations.append(several)
            bar(number + 1)
    out.mkdir(parents=True, exist_ok=True)
    write_heat_sheet(out / "heat_maps.png", pictures, explanations, truths, [folder.name for folder in folders])
    with replacing(out / "heat_maps.npz") as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **_arrays(names, explanations))
    say(f"{len(pictures)} images: {out / 'heat_maps.png'}; the maps as arrays: {out / 'heat_maps.npz'}")


def _named(images: list[str]) -> Chosen:
    paths = find_images(images)
    return [str(path) for path in paths], paths, [None] * len(paths)


def _of_split(run: Run, data: str | None, split: str | None, count: int) -> Chosen:
    """So many images of a split, evenly over it, with the labels that they have."""
    from tagformer.labels import PRESENT

    records = list(split_to_score(run, data, split).dataset.evenly(count))
    names, targets = run.label_space.names, run.label_space.is_target
    present = [(record.labels == PRESENT) & targets for record in records]
    truths = [[name for name, there in zip(names, row.tolist(), strict=True) if there] for row in present]
    return [record.id for record in records], [record.image for record in records], list(truths)


def _arrays(names: Sequence[str], explanations: Sequence[Sequence[Explanation]]) -> dict[str, NDArray[Any]]:
    """What heat_maps.npz has, see `explain`."""
    import numpy as np

    arrays: dict[str, NDArray[Any]] = {}
    for number, (name, several) in enumerate(zip(names, explanations, strict=True)):
        arrays[f"{number}/image"] = np.array(name)
        for run, one in enumerate(several):
            place = f"{number}/{run}"
            arrays[f"{place}/labels"] = np.array([tag.name for tag in one.tags])
            arrays[f"{place}/probabilities"] = np.array([tag.probability for tag in one.tags], dtype=np.float32)
            arrays[f"{place}/maps"] = one.maps.numpy()
            arrays[f"{place}/region"] = np.array(one.region, dtype=np.float32)
    return arrays
