"""``tagformer explain``: where in an image a model sees its labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagformer.cli.console import echo, errors, progress_bar, split_to_score
from tagformer.cli.predict import find_images
from tagformer.errors import TagformerError, check_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tagformer.images.source import ImageSource
    from tagformer.runs.run import Run
    from tagformer.tagging.explanation import Explanation
    from tagformer.tagging.tagger import Tagger

LIMIT = 60  # images on a sheet
Chosen = list[tuple[str, "ImageSource", dict[str, int]]]  # name, image, states of its labels


def explain(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path, typer.Option(help="A folder for the sheet and the maps.")],
    images: Annotated[
        list[str] | None, typer.Argument(help="Files, folders or globs; without any, images of the test split.")
    ] = None,
    beside: Annotated[list[Path] | None, typer.Option(help="Another run, shown below the first on each image.")] = None,
    data: Annotated[str | None, typer.Option(help="FORMAT:PATH, for images with their labels; the run's own.")] = None,
    split: Annotated[str | None, typer.Option(help="The test split by default.")] = None,
    count: Annotated[int, typer.Option(min=1, max=LIMIT, help="How many images of the split, evenly over it.")] = 8,
    labels: Annotated[str | None, typer.Option(help="dog,cat: these labels, instead of those predicted.")] = None,
    most: Annotated[int, typer.Option(min=1, help="How many predicted, and how many missed labels of an image.")] = 5,
    channels: Annotated[str | None, typer.Option(help="0,17: draw these channels of the last map.")] = None,
    known: Annotated[list[str] | None, typer.Option(help="Labels that are known: dog=yes,cat=no.")] = None,
    feedback: Annotated[bool, typer.Option("--feedback", help="Tell any model by feedback propagation.")] = False,
    on_bad_image: Annotated[str, typer.Option(help="error or skip.")] = "error",
) -> None:
    """Draw heat maps of the labels that are predicted, and of those that are missed, over the images.

    heat_maps.png has a row for each image and run: labels that are right in green, wrong in brown, missed in red.
    heat_maps.npz has the maps themselves. For image I and run R, both counted from 0: I/image is its path or id,
    I/R/labels and I/R/probabilities are of K labels, I/R/maps is (K, h, w) over the part I/R/region of the image.
    With --channels, channels.png shows where channels of the first run's last map are high, labels aside.
    """
    import numpy as np

    from tagformer.errors import BadImageError
    from tagformer.files import atomic_write, check_output_folder
    from tagformer.images.reading import load_image
    from tagformer.labels.parsing import parse_known
    from tagformer.labels.space import PRESENT
    from tagformer.report.sheets.channel import write_channel_sheet
    from tagformer.report.sheets.heat import SIDE, write_heat_sheet
    from tagformer.runs.run import Run
    from tagformer.tagging.tagger import Tagger

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    check_output_folder(out)
    if images and (data or split):
        raise TagformerError("name images, or --data and --split, not both.")
    told = parse_known(known or ())
    asked = [name.strip() for name in (labels or "").split(",") if name.strip()]
    folders = list(dict.fromkeys([run, *(beside or [])]))
    taggers = [Tagger.load(folder, feedback=feedback) for folder in folders]
    for tagger in taggers:  # refuse before the images are looked for
        tagger.known(told)
        for name in asked:
            tagger.label_space.index(name)
    drawn = _channels(channels, taggers[0]) if channels else []
    chosen = _named(images) if images else _of_split(Run.load(run), data, split, count, on_bad_image)
    pictures, explanations, names, truths, last_maps = [], [], [], [], []
    with progress_bar("Explaining", len(chosen)) as bar:
        for number, (name, source, truth) in enumerate(chosen, start=1):
            bar(number)
            try:
                picture = load_image(source)
            except BadImageError as error:
                if on_bad_image == "error":
                    raise
                errors.print(f"left out: {error}", soft_wrap=True)
                continue
            several = []
            for tagger in taggers:
                predicted = [tag.name for tag in tagger.predict(picture, told)[0].tags]
                targets = set(tagger.label_space.names) - set(tagger.label_space.extra)
                there = [label for label, state in truth.items() if state == PRESENT and label in targets]
                missed = [label for label in there if label not in predicted and label not in told]
                several.append(tagger.explain(picture, asked or [*predicted[:most], *missed[:most]], told))
            if drawn:
                last_maps.append(taggers[0].last_map(picture))
            picture.thumbnail((2 * SIDE, 2 * SIDE))
            pictures.append(picture)
            explanations.append(several)
            names.append(name)
            truths.append(truth)
    write_heat_sheet(out / "heat_maps.png", pictures, explanations, truths, [str(folder) for folder in folders])
    with atomic_write(out / "heat_maps.npz") as temporary:
        np.savez_compressed(temporary, **_arrays(names, explanations))  # type: ignore[arg-type]
    if drawn:
        maps, regions = zip(*last_maps, strict=True) if last_maps else ((), ())
        write_channel_sheet(out / "channels.png", pictures, names, maps, regions, drawn)
        echo(f"Channels {channels} of the last map: {out / 'channels.png'}")
    echo(f"{len(pictures)} images: {out / 'heat_maps.png'}; the maps as arrays: {out / 'heat_maps.npz'}")


def _channels(text: str, tagger: Tagger) -> list[int]:
    """The numbers of --channels.

    Raises:
        TagformerError: something that is not a channel of the model's last map.
    """
    count = tagger.model.backbone.channels[-1]
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not part.isdigit() or int(part) >= count:
            raise TagformerError(f"--channels: '{part}' is not a channel: give numbers from 0 to {count - 1}.")
    return [int(part) for part in parts]


def _named(images: list[str]) -> Chosen:
    paths = find_images(images)
    if len(paths) > LIMIT:
        echo(f"The first {LIMIT} of {len(paths)} images are explained.")
    return [(str(path), path, {}) for path in paths[:LIMIT]]


def _of_split(run: Run, data: str | None, split: str | None, count: int, on_bad_image: str) -> Chosen:
    """So many images of a split, evenly over it, with the states that their labels have."""
    names = run.label_space.names
    return [
        (record.id, record.image, dict(zip(names, record.labels.tolist(), strict=True)))
        for record in split_to_score(run, data, split, on_bad_image).dataset.sample_evenly(count)
    ]


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
