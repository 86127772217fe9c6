"""``tagformer predict``."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagformer.cli.terminal.console import (
    BatchSize,
    Feedback,
    OnBadImage,
    RunFolder,
    Workers,
    echo,
    errors,
    progress_bar,
)
from tagformer.errors import TagformerError, check_choice
from tagformer.safe_text import spreadsheet_cell

if TYPE_CHECKING:
    from tagformer.tagging.prediction import Prediction, Tag

SHEET_LIMIT = 60  # pictures on a contact sheet
WRITERS = (".csv", ".jsonl")


def predict(
    run: RunFolder,
    images: Annotated[
        list[str], typer.Argument(help="Files, folders, globs, or - for a list of paths on standard input.")
    ],
    known: Annotated[list[str] | None, typer.Option(help="Labels that are known: dog=yes,cat=no.")] = None,
    feedback: Feedback = False,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Used instead of the run's thresholds."),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="So many labels per image, whatever the threshold.")] = None,
    out: Annotated[Path | None, typer.Option(help="A .csv or .jsonl file to write, instead of a table.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help=f"A .png file: the first {SHEET_LIMIT} pictures with their tags.")
    ] = None,
    batch_size: BatchSize = 32,
    workers: Workers = 2,
    on_bad_image: OnBadImage = "error",
) -> None:
    """Tag images."""
    from tagformer.files import check_output_file
    from tagformer.labels.parsing import parse_known
    from tagformer.tagging.tagger import Tagger

    if out is not None and out.suffix not in WRITERS:
        raise TagformerError(f"--out {out}: the name must end in {' or '.join(WRITERS)}.")
    if sheet is not None and sheet.suffix != ".png":
        raise TagformerError(f"--sheet {sheet}: the name must end in .png.")
    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    check_output_file(out)
    check_output_file(sheet)
    states = parse_known(known or ())
    tagger = Tagger.load(run, feedback=feedback)
    if threshold is not None:
        tagger.thresholds.fill_(threshold)
    tagger.known(states)  # report wrong labels before looking for images
    paths = find_images(images, lambda sentence: errors.print(sentence, soft_wrap=True))

    pictured: list[Prediction] = []
    bad: list[str] = []
    done = 0
    with _output(out, single=len(paths) == 1, top=top) as write, progress_bar("Tagging", len(paths)) as bar:
        for predictions, problems in tagger.stream(paths, states, batch_size, workers, on_bad_image):
            for prediction in predictions:
                write(prediction)
            pictured += predictions[: SHEET_LIMIT - len(pictured)] if sheet else []
            bad += problems
            done += len(predictions) + len(problems)
            bar(done)
    for problem in bad:
        errors.print(f"left out: {problem}", soft_wrap=True)
    if out is not None:
        echo(f"{done - len(bad)} images tagged, {len(bad)} left out; written to {out}")
    if sheet is not None:
        _write_sheet(sheet, pictured, top)
        echo(f"contact sheet of {len(pictured)} pictures written to {sheet}")


def find_images(arguments: Sequence[str], report: Callable[[str], None] | None = None) -> list[Path]:
    """The image files that the arguments name, each once, in order.

    Args:
        arguments: files, folders (with all their subfolders), globs, or ``-`` for a list of paths on standard input. A
            file that is named itself is taken whatever its extension.
        report: called with a sentence for each folder in which files were passed over.

    Raises:
        TagformerError: a file that does not exist, a folder without images, or no images at all.
    """
    from tagformer.data.image_files import PassedOver, walk_images
    from tagformer.images.file_types import EXTENSIONS

    files: dict[Path, None] = {}
    for argument in arguments:
        if argument == "-":
            files.update((Path(line.strip()), None) for line in sys.stdin if line.strip())
            continue
        path = Path(argument).expanduser()
        if os.path.isdir(path):  # unlike Path.is_dir, it accepts any text
            passed_over = PassedOver()
            inside = sorted(path / name for name in walk_images(path, "", passed_over, follow_links=False))
            if not inside:
                but = f", but {passed_over}" if passed_over else ""
                raise TagformerError(f"folder {path} has no images ({', '.join(sorted(EXTENSIONS))}){but}.")
            if passed_over and report is not None:
                report(f"{path}: passed over: {passed_over}")
            files.update(dict.fromkeys(inside))
        elif os.path.exists(path):
            files[path] = None
        else:
            matched = [Path(name) for name in sorted(glob(str(path), recursive=True))]
            if not matched:
                raise TagformerError(
                    f"no image {argument}: there is no such file, and no file matches it as a pattern."
                )
            files.update(dict.fromkeys(file for file in matched if file.is_file()))
    if not files:
        raise TagformerError("no images: name files, folders or patterns.")
    return list(files)


def _tags(prediction: Prediction, top: int | None) -> list[Tag]:
    """The most probable labels, or those above their thresholds."""
    return prediction.tags if top is None else prediction.ranked[:top]


@contextmanager
def _output(out: Path | None, single: bool, top: int | None) -> Iterator[Callable[[Any], None]]:
    """A function that writes one prediction: as a line of a file, or on the terminal."""
    from tagformer.files import atomic_write

    if out is None:
        yield partial(_print_whole if single else _print_line, top=top)
        return
    with atomic_write(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        if out.suffix == ".jsonl":
            yield partial(_write_json, stream, out.parent, top=top)
        else:
            writer = csv.writer(stream)
            writer.writerow(("path", "tags", "probabilities"))
            yield partial(_write_row, writer, out.parent, top=top)


def _path_from(folder: Path, image: str) -> str:
    """An image's path as a file in `folder` names it, so that the file can be read as data."""
    return image if os.path.isabs(image) else os.path.relpath(image, folder)


def _write_json(stream: Any, folder: Path, prediction: Prediction, top: int | None) -> None:
    value = {**prediction.to_dict(), "tags": [tag.name for tag in _tags(prediction, top)]}
    value["image"] = _path_from(folder, prediction.image)
    stream.write(json.dumps(value, ensure_ascii=False) + "\n")


def _write_row(writer: Any, folder: Path, prediction: Prediction, top: int | None) -> None:
    from tagformer.data.formats._common.cells import join_tags

    tags = _tags(prediction, top)
    probabilities = ";".join(f"{tag.probability:.4f}" for tag in tags)
    cells = (_path_from(folder, prediction.image), join_tags([tag.name for tag in tags]), probabilities)
    writer.writerow(spreadsheet_cell(cell) for cell in cells)


def _print_whole(prediction: Prediction, top: int | None) -> None:
    echo(prediction.image)
    tags = _tags(prediction, top)
    width = max((len(tag.name) for tag in tags), default=0)
    for tag in tags:
        note = "known" if tag.known else f"threshold {tag.threshold:.2f}"
        echo(f"  {tag.name:<{width}}  {tag.probability:6.1%}  ({note})")
    if top is None:
        below = ", ".join(f"{tag.name} {tag.probability:.1%}" for tag in prediction.below())
        echo(f"  below the threshold: {below}" if below else "  every label is at or above its threshold")


def _print_line(prediction: Prediction, top: int | None) -> None:
    tags = ", ".join(f"{tag.name} {tag.probability:.0%}" for tag in _tags(prediction, top))
    if not tags:
        tags = "below the threshold: " + ", ".join(f"{t.name} {t.probability:.0%}" for t in prediction.below())
    echo(f"{prediction.image}  {tags}")


def _write_sheet(sheet: Path, predictions: Sequence[Prediction], top: int | None) -> None:
    from tagformer.images.reading import load_image
    from tagformer.report.sheets.contact import tag_lines, write_contact_sheet

    pictures, lines = [], []
    for prediction in predictions:
        tags = _tags(prediction, top)
        pictures.append(load_image(Path(prediction.image)))
        known = [tag.name for tag in tags if tag.known]
        lines.append(tag_lines([(tag.name, tag.probability) for tag in tags], None, known))
    write_contact_sheet(sheet, pictures, lines)
