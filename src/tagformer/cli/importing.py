"""``tagformer import``: make a run folder from a checkpoint that a paper's own code wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tagformer.cli.terminal.console import echo
from tagformer.errors import TagformerError

FREE = ("image", "dropout", "attention_dropout")  # options of a recipe that do not change the shape of any weight


def import_checkpoint(
    kind: Annotated[str, typer.Argument(help="The code that wrote it: ctran.")],
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint.")],
    labels: Annotated[
        str,
        typer.Option(help="The labels in the checkpoint's order: a text file with a name per line, or FORMAT:PATH."),
    ],
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    recipe: Annotated[str, typer.Option(help="The recipe that it was trained with.")] = "ctran-coco80",
    heads: Annotated[int, typer.Option(min=1, help="Attention heads, which the weights do not show.")] = 4,
) -> None:
    """Make a run folder from a checkpoint of a paper's own code."""
    from tagformer.data.formats._common.lists import read_label_space
    from tagformer.data.load import load_dataset
    from tagformer.models.checkpoints import read_checkpoint
    from tagformer.recipes.recipe import load_recipe
    from tagformer.runs.run import LABELS, RECIPE, WEIGHTS, write_labels, write_weights

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TagformerError(f"{out} is not empty: choose another --out.")
    if ":" in labels and not Path(labels).exists():
        label_space = load_dataset(labels, "all", on_bad_image="keep").label_space
    else:
        label_space = read_label_space(Path(labels))
    settings = load_recipe(recipe)
    backbone = settings.model.backbone
    model, options = read_checkpoint(kind, checkpoint, label_space, heads=heads, backbone=backbone.name)
    backbone.pretrained = False
    settings.name, settings.source = checkpoint.stem, f"imported from {checkpoint.resolve()}"
    kept = {key: value for key, value in settings.model.options.items() if key in FREE}
    settings.model.name, settings.model.options = kind, kept | options
    settings.image.mean, settings.image.std = settings.image.statistics(model.backbone)
    try:
        settings.save(out / RECIPE)
        write_labels(out, label_space)
        write_weights(out, model.state_dict())
    except BaseException:  # so that the same command can be run again
        for name in (RECIPE, LABELS, WEIGHTS):
            (out / name).unlink(missing_ok=True)
        raise
    count = sum(parameter.numel() for parameter in model.parameters())
    echo(f"{out}: {type(model).__name__} with {len(label_space)} labels and {count / 1e6:.1f} M weights.")
    echo(f"Next: tagformer evaluate {out} --data FORMAT:PATH --known-share 0,25,50,75")
