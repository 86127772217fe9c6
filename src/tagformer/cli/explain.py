"""``tagformer explain``: where in an image a model sees its labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagformer.cli.predict import find_images
from tagformer.cli.terminal.console import Feedback, OnBadImage, RunFolder, echo, errors, progress_bar, split_to_score
from tagformer.errors import BadImageError, TagformerError, check_choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from tagformer.images.preprocessing import Corners
    from tagformer.images.source import ImageSource
    from tagformer.runs.run import Run
    from tagformer.tagging.explanation import Explanation
    from tagformer.tagging.tagger import Tagger

LIMIT = 60  # images on a sheet


@dataclass(frozen=True)
class Query:
    """What is explained of each image.

    Attributes:
        labels: their names; none: those that are predicted and those that are missed.
        most: how many predicted and how many missed labels at most.
        known: the labels that are known.
    """

    labels: list[str]
    most: int
    known: Mapping[str, bool | None]


@dataclass(frozen=True)
class Subject:
    """An image to explain.

    Attributes:
        name: its path or its id.
        image: where it comes from.
        states: of its labels, by name; empty where the annotations are not given.
    """

    name: str
    image: ImageSource
    states: dict[str, int]


@dataclass
class Explained:
    """The images that were explained, a row of each list per image.

    Attributes:
        subjects: the images.
        pictures: small copies of them.
        explanations: of each image, one per run.
        last_maps: the first run's last feature map of each image, with its region; empty without ``--channels``.
    """

    subjects: list[Subject] = field(default_factory=list)
    pictures: list[Image.Image] = field(default_factory=list)
    explanations: list[list[Explanation]] = field(default_factory=list)
    last_maps: list[tuple[Tensor, Corners]] = field(default_factory=list)


def explain(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="A folder for the sheet and the maps.")],
    images: Annotated[
        list[str] | None, typer.Argument(help="Files, folders or globs; without any, images of the test split.")
    ] = None,
    beside: Annotated[list[Path] | None, typer.Option(help="Another run, shown below the first on each image.")] = None,
    data: Annotated[
        str | None, typer.Option(help="FORMAT:PATH of images with their labels; the run's own by default.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The test split by default.")] = None,
    count: Annotated[int, typer.Option(min=1, max=LIMIT, help="How many images of the split, evenly spaced.")] = 8,
    labels: Annotated[str | None, typer.Option(help="dog,cat: these labels, instead of those predicted.")] = None,
    most: Annotated[int, typer.Option(min=1, help="How many predicted and how many missed labels per image.")] = 5,
    channels: Annotated[str | None, typer.Option(help="0,17: draw these channels of the last map.")] = None,
    known: Annotated[list[str] | None, typer.Option(help="Labels that are known: dog=yes,cat=no.")] = None,
    feedback: Feedback = False,
    on_bad_image: OnBadImage = "error",
) -> None:
    """Draw heat maps of the labels that are predicted, and of those that are missed, over the images.

    heat_maps.png has a row per image and run. Right labels are green, wrong ones
    red, missed ones brown.

    heat_maps.npz has the maps as arrays, for image I and run R counted from 0:
    I/image is its path or id, I/R/labels and I/R/probabilities are of K labels,
    I/R/maps is (K, h, w), over the part I/R/region of the image.

    With --channels, channels.png shows where channels of the first run's last map
    are high, for no label in particular.
    """
    from tagformer.files import check_output_folder
    from tagformer.labels.parsing import parse_known
    from tagformer.runs.run import Run
    from tagformer.tagging.tagger import Tagger

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    check_output_folder(out)
    if images and (data or split):
        raise TagformerError("name images, or --data and --split, not both.")
    names = [name.strip() for name in (labels or "").split(",") if name.strip()]
    query = Query(names, most, parse_known(known or ()))
    folders = list(dict.fromkeys([run, *(beside or [])]))
    taggers = [Tagger.load(folder, feedback=feedback) for folder in folders]
    for tagger in taggers:  # report wrong labels before looking for images
        tagger.known(query.known)
        for name in query.labels:
            tagger.label_space.index(name)
    channel_numbers = parse_channels(channels, taggers[0]) if channels else []
    subjects = _named(images) if images else _of_split(Run.load(run), data, split, count, on_bad_image)
    explained = _explain_all(taggers, subjects, query, bool(channel_numbers), on_bad_image)
    _write(out, explained, [str(folder) for folder in folders], channel_numbers)


def _explain_all(
    taggers: Sequence[Tagger], subjects: Sequence[Subject], query: Query, last_maps: bool, on_bad_image: str
) -> Explained:
    """Explain every image by every tagger; images that cannot be read are left out, or raise BadImageError."""
    from tagformer.images.reading import load_image
    from tagformer.report.sheets.heat import SIDE

    explained = Explained()
    with progress_bar("Explaining", len(subjects)) as bar:
        for number, subject in enumerate(subjects, start=1):
            bar(number)
            try:
                picture = load_image(subject.image)
            except BadImageError as error:
                if on_bad_image == "error":
                    raise
                errors.print(f"left out: {error}", soft_wrap=True)
                continue
            explanations = [_explain_one(tagger, picture, subject.states, query) for tagger in taggers]
            if last_maps:
                explained.last_maps.append(taggers[0].last_map(picture))
            picture.thumbnail((2 * SIDE, 2 * SIDE))
            explained.pictures.append(picture)
            explained.explanations.append(explanations)
            explained.subjects.append(subject)
    return explained


def _explain_one(tagger: Tagger, picture: Image.Image, states: Mapping[str, int], query: Query) -> Explanation:
    """The query's labels of one image, or those predicted and those missed."""
    from tagformer.labels.space import PRESENT

    predicted = [tag.name for tag in tagger.predict(picture, query.known)[0].tags]
    targets = set(tagger.label_space.names) - set(tagger.label_space.extra)
    present = [label for label, state in states.items() if state == PRESENT and label in targets]
    missed = [label for label in present if label not in predicted and label not in query.known]
    return tagger.explain(picture, query.labels or [*predicted[: query.most], *missed[: query.most]], query.known)


def _write(out: Path, explained: Explained, runs: list[str], channels: list[int]) -> None:
    """Write the sheets and the arrays, and print where they are."""
    import numpy as np

    from tagformer.files import atomic_write
    from tagformer.report.sheets.channel import write_channel_sheet
    from tagformer.report.sheets.heat import write_heat_sheet

    pictures, names = explained.pictures, [subject.name for subject in explained.subjects]
    states = [subject.states for subject in explained.subjects]
    write_heat_sheet(out / "heat_maps.png", pictures, explained.explanations, states, runs, names)
    with atomic_write(out / "heat_maps.npz") as temporary:
        np.savez_compressed(temporary, **_arrays(names, explained.explanations))  # type: ignore[arg-type]
    if channels:
        maps, regions = zip(*explained.last_maps, strict=True) if explained.last_maps else ((), ())
        write_channel_sheet(out / "channels.png", pictures, names, maps, regions, channels)
        echo(f"Channels {','.join(map(str, channels))} of the last map: {out / 'channels.png'}")
    echo(f"{len(pictures)} images: {out / 'heat_maps.png'}; the maps as arrays: {out / 'heat_maps.npz'}")


def parse_channels(text: str, tagger: Tagger) -> list[int]:
    """The numbers of ``--channels``.

    Raises:
        TagformerError: something that is not a channel of the model's last map.
    """
    count = tagger.model.backbone.channels[-1]
    numbers = [number.strip() for number in text.split(",")]
    for number in numbers:
        if not number.isdigit() or int(number) >= count:
            raise TagformerError(f"--channels: '{number}' is not a channel: give numbers from 0 to {count - 1}.")
    return [int(number) for number in numbers]


def _named(images: list[str]) -> list[Subject]:
    paths = find_images(images)
    if len(paths) > LIMIT:
        echo(f"The first {LIMIT} of {len(paths)} images are explained.")
    return [Subject(str(path), path, {}) for path in paths[:LIMIT]]


def _of_split(run: Run, data: str | None, split: str | None, count: int, on_bad_image: str) -> list[Subject]:
    """So many images of a split, evenly spaced, with the states of their labels."""
    names = run.label_space.names
    return [
        Subject(record.id, record.image, dict(zip(names, record.labels.tolist(), strict=True)))
        for record in split_to_score(run, data, split, on_bad_image).dataset.sample_evenly(count)
    ]


def _arrays(names: Sequence[str], explanations: Sequence[Sequence[Explanation]]) -> dict[str, NDArray[Any]]:
    """The content of heat_maps.npz, see `explain`."""
    import numpy as np

    arrays: dict[str, NDArray[Any]] = {}
    for number, (name, per_run) in enumerate(zip(names, explanations, strict=True)):
        arrays[f"{number}/image"] = np.array(name)
        for run, explanation in enumerate(per_run):
            key = f"{number}/{run}"
            arrays[f"{key}/labels"] = np.array([tag.name for tag in explanation.tags])
            arrays[f"{key}/probabilities"] = np.array([tag.probability for tag in explanation.tags], dtype=np.float32)
            arrays[f"{key}/maps"] = explanation.maps.numpy()
            arrays[f"{key}/region"] = np.array(explanation.region, dtype=np.float32)
    return arrays
