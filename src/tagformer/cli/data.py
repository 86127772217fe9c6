"""``tagformer data``: describe a data set and its faults, list the formats, or write a data set in another format."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from tagformer.cli.terminal.console import Bar, console, echo, errors, progress_bar
from tagformer.cli.terminal.plain_help import PlainCommand, PlainGroup
from tagformer.errors import TagformerError, check_choice

if TYPE_CHECKING:
    from tagformer.data.dataset import MultiLabelDataset

SHOWN = 25  # labels in the chart of co-occurrence
PICTURES = 36  # in the contact sheet


class DescribeByDefault(PlainGroup):
    """A group in which ``tagformer data SPEC`` means ``tagformer data describe SPEC``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # the shell completes a word
            return super().parse_args(ctx, args)
        named = args[:1] and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["describe", *args])


app = typer.Typer(
    cls=DescribeByDefault,
    help="Describe a data set with 'tagformer data FORMAT:PATH', write it in another format with "
    "'tagformer data convert FORMAT:PATH FORMAT:FOLDER', or list the formats with 'tagformer data'.",
)


@app.command(cls=PlainCommand)
def describe(
    spec: Annotated[str | None, typer.Argument(help="FORMAT:PATH; without it the formats are listed.")] = None,
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    read_images: Annotated[
        bool,
        typer.Option(help="Read every image, to find bad, tiny and duplicate ones; quick without."),
    ] = True,
    labels: Annotated[int, typer.Option(min=1, help="How many labels to list.")] = 20,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for a chart of the labels that occur together, and a contact sheet.")
    ] = None,
) -> None:
    """Describe a data set: images, labels, positives per label, unknown cells; bad and duplicate images; leaks."""
    if spec is None:
        _formats()
        return
    from tagformer.data.image_checks import inspect_images
    from tagformer.data.load import diagnose_images
    from tagformer.data.statistics import describe, format_warnings, label_warnings, warning_line

    splits = _splits(spec, split)
    described = {name: describe(dataset) for name, dataset in splits.items()}
    for name, figures in described.items():
        echo(f"{spec}, split {name}: {figures.images} images, {figures.labels} labels")
        echo(f"  labels per image  {figures.labels_per_image:.2f} (none on {figures.without_labels})")
        echo(f"  unknown cells     {figures.unknown:.1%}")
    warnings = format_warnings(splits) + label_warnings(splits)
    if read_images:
        diagnoses = {name: diagnose_images(spec, dataset) for name, dataset in splits.items()}
        if all(diagnoses.values()):
            raise TagformerError(str(next(iter(diagnoses.values()))))
        warnings += [diagnosed for diagnosed in diagnoses.values() if diagnosed]
        with progress_bar("Reading images", sum(map(len, splits.values()))) as bar:
            inspected = inspect_images(splits, bar)
        echo(f"  bad images        {len(inspected.bad)}")
        for problem in inspected.bad[:5]:
            echo(f"    {problem}")
        if len(inspected.bad) == sum(map(len, splits.values())):
            raise TagformerError(f"{spec}: none of its images can be read: fix the files, or the paths to them.")
        warnings += inspected.warnings
    else:
        echo("  bad images        not checked")
    for warning in warnings:
        echo(warning_line(warning))
    _print_positives({name: figures.positives for name, figures in described.items()}, labels)
    if pictures is not None:
        _draw(splits, pictures)


@app.command(cls=PlainCommand)
def convert(
    source: Annotated[str, typer.Argument(help="The data set, FORMAT:PATH.")],
    target: Annotated[str, typer.Argument(help="FORMAT:FOLDER; the formats are coco, csv, jsonl, parquet and shards.")],
    split: Annotated[str, typer.Option(help="train, val or test; all: every split that the data has.")] = "all",
    size: Annotated[
        int | None, typer.Option(min=1, help="Make images smaller: the pixels of the shorter side.")
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEGs, with --size.")] = 95,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read images; one for each CPU.")] = None,
    on_bad_image: Annotated[str, typer.Option(help="error, or skip: leave out images that cannot be read.")] = "error",
    overwrite: Annotated[bool, typer.Option(help="Replace what another conversion wrote to the folder.")] = False,
) -> None:
    """Write a data set in another format. After an interruption, the same command continues where it stopped."""
    from tagformer.data.conversion.converter import convert

    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    bars: list[Bar] = []
    try:
        with ExitStack() as stack:

            def progress(done: int, total: int) -> None:
                if not bars:  # a bar before the data is checked would stand above its error message
                    bars.append(stack.enter_context(progress_bar("Converting images", total)))
                bars[0](done)

            written = convert(
                source, target, split, size, quality, workers, on_bad_image, overwrite=overwrite, progress=progress
            )
    except KeyboardInterrupt:
        errors.print("Stopped; run the same command again to continue.")
        raise typer.Exit(130) from None
    counts = ", ".join(f"{count} {name}" if name != "all" else str(count) for name, count in written.images.items())
    echo(f"{written.spec}: {counts} images")
    if written.left_out:
        echo(f"Left out: {len(written.left_out)} images that cannot be read.")
        for problem in written.left_out[:5]:
            echo(f"  {problem}")


def _splits(spec: str, split: str) -> dict[str, MultiLabelDataset]:
    """The splits that the data defines, or the one that the option names."""
    from tagformer.data.load import load_splits

    return load_splits(spec, split, on_bad_image="keep")


def _print_positives(positives: dict[str, dict[str, int]], shown: int) -> None:
    """The most frequent labels of the first split, with their positives in every split."""
    table = Table(box=SIMPLE)
    table.add_column("label")
    for split in positives:
        table.add_column("positives" if len(positives) == 1 else split, justify="right")
    names = list(next(iter(positives.values())))
    for name in names[:shown]:
        table.add_row(Text(name), *(str(counts[name]) for counts in positives.values()))
    console.print(table)
    if names[shown:]:
        first = next(iter(positives.values()))
        echo(f"and {len(names) - shown} more labels with {first[names[shown]]} to {first[names[-1]]} positives")


def _draw(splits: dict[str, MultiLabelDataset], folder: Path) -> None:
    """Write the chart of the labels that occur together, and the contact sheet."""
    import torch

    from tagformer.errors import BadImageError
    from tagformer.files import write_text
    from tagformer.images.reading import load_image
    from tagformer.report.charts import matrix_chart
    from tagformer.report.sheets.contact import PLAIN, write_contact_sheet

    folder.mkdir(parents=True, exist_ok=True)
    together = torch.stack([dataset.label_rows.present_together() for dataset in splits.values()]).sum(0)
    counts = together.diagonal()
    order = counts.argsort(descending=True, stable=True)[:SHOWN]
    order = order[counts[order] > 0]
    dataset = next(iter(splits.values()))
    names = [dataset.label_space.names[column] for column in order.tolist()]
    shares = together[order][:, order] / counts[order].unsqueeze(1)
    chart = folder / "co-occurrence.svg"
    write_text(chart, matrix_chart(names, shares.numpy()))

    images, lines = [], []
    for record in dataset.sample_evenly(PICTURES):
        try:
            images.append(load_image(record.image))
        except BadImageError:
            continue  # already listed among the bad images
        present = dataset.label_space.names_of(record.labels)
        lines.append([(name, PLAIN) for name in present] or [("no label", PLAIN)])
    sheet = folder / "contact-sheet.png"
    write_contact_sheet(sheet, images, lines)
    echo(f"Pictures: {chart} (the share of the images with the row's label that also have the column's), {sheet}")


def _formats() -> None:
    """List the formats with their files and options."""
    from tagformer.data.registry import FORMATS

    echo(
        "Formats, as FORMAT:PATH?OPTION=VALUE&...; describe a data set with 'tagformer data FORMAT:PATH', "
        "write it in another format with 'tagformer data convert'."
    )
    for name, entry in FORMATS.items():
        echo(f"\n{name}: {entry.layout}")
        for option, meaning in entry.options.items():
            echo(f"  ?{option}=  {meaning}")
