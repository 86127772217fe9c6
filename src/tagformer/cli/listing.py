"""``tagformer data``, ``tagformer models`` and ``tagformer recipes``: what there is."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from tagformer.cli.console import console, progress_bar, say


def data(
    spec: Annotated[str | None, typer.Argument(help="FORMAT:PATH; without it the formats are listed.")] = None,
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    read_images: Annotated[bool, typer.Option(help="Read every image, to find the bad ones.")] = True,
    labels: Annotated[int, typer.Option(min=1, help="How many labels to list.")] = 20,
) -> None:
    """Describe a data set: images, labels, positives a label, labels an image, unknown cells, bad images."""
    if spec is None:
        _formats()
        return
    from tagformer.data import load_dataset
    from tagformer.data.describe import describe

    dataset = load_dataset(spec, split, on_bad_image="keep")
    with progress_bar("Reading images", len(dataset)) as bar:
        found = describe(dataset, read_images, bar)
    say(f"{spec}, split {split}: {found.images} images, {found.labels} labels")
    say(f"  labels an image  {found.labels_per_image:.2f} (none on {found.without_labels})")
    say(f"  unknown cells    {found.unknown:.1%}")
    say(f"  bad images       {len(found.bad) if found.checked else 'not looked for'}")
    for problem in found.bad[:5]:
        say(f"    {problem}")
    table = Table(box=SIMPLE)
    table.add_column("label")
    table.add_column("positives", justify="right")
    table.add_column("of images", justify="right")
    for name, count in list(found.positives.items())[:labels]:
        table.add_row(Text(name), str(count), f"{count / max(1, found.images):.1%}")
    console.print(table)
    rest = list(found.positives.values())[labels:]
    if rest:
        say(f"and {len(rest)} more labels with {rest[0]} to {rest[-1]} positives")


def _formats() -> None:
    from tagformer.data import FORMATS

    say("Formats, as FORMAT:PATH?OPTION=VALUE&...; describe a data set with 'tagformer data FORMAT:PATH'.")
    for name, entry in FORMATS.items():
        say(f"\n{name}: {entry.tree}")
        for option, meaning in entry.options.items():
            say(f"  ?{option}=  {meaning}")


def models() -> None:
    """List the models with their options."""
    from tagformer.models import MODELS

    for name, kind in MODELS.items():
        first = (kind.__doc__ or "").strip().splitlines()[0]
        options = ", ".join(f"{option}={default}" for option, default in kind.options().items())
        say(f"{name}: {first}\n  options: {options}\n  uses known labels: {'yes' if kind.uses_known else 'no'}")
    say("\nBackbones: 'tiny', or any of timm's networks (python -c 'import timm; print(timm.list_models())').")


def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe to print in full.")] = None,
) -> None:
    """List the recipes, or print one with every setting."""
    from tagformer.recipes import list_recipes, load_recipe

    if name is not None:
        print(load_recipe(name).to_yaml(), end="")
        return
    for known, recipe in list_recipes().items():
        model, backbone = recipe.model.name, recipe.model.backbone.name
        say(f"{known}: {model} on {backbone}, {recipe.training.epochs} epochs; {recipe.source}")
