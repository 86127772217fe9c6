"""``tagformer models`` and ``tagformer recipes``: the models and recipes that come with the package."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from tagformer.cli.terminal.console import echo

LABELS = 80


def models(
    name: Annotated[str | None, typer.Argument(help="A model to explain, with all its options.")] = None,
) -> None:
    """List the models with their options, or explain one."""
    from tagformer.backbones.mltr.variants import VARIANTS
    from tagformer.models.registry import MODELS, model_class

    if name is not None:
        print(inspect.getdoc(model_class(name)))
        return
    for name, kind in MODELS.items():
        first = (kind.__doc__ or "").strip().splitlines()[0]
        options = ", ".join(f"{option}={default}" for option, default in kind.options().items())
        echo(f"{name}: {first}\n  options: {options}\n  uses known labels: {'yes' if kind.uses_known else 'no'}")
    echo("\nBackbones of mltr, which the other models can use too:")
    for size, millions in mltr_sizes().items():
        echo(f"  {size}: {VARIANTS[size]['image_size']} pixels, {millions:.1f} M parameters with {LABELS} labels")
    echo("\n'tagformer models NAME' explains one.")
    echo("Other backbones: 'tiny', or any of timm's networks (python -c 'import timm; print(timm.list_models())').")


def mltr_sizes() -> dict[str, float]:
    """Millions of parameters of each variant of MlTr, with the 80 labels of COCO (Table 2 of the paper)."""
    import torch

    from tagformer.backbones.mltr.variants import VARIANTS
    from tagformer.models.registry import create_model

    sizes = {}
    with torch.device("meta"):  # shapes without values
        for name in VARIANTS:
            model = create_model("mltr", LABELS, name, pretrained=False)
            sizes[name] = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return sizes


def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe to print in full.")] = None,
) -> None:
    """List the recipes, or print one with every setting."""
    from tagformer.recipes.recipe import list_recipes, load_recipe

    if name is not None:
        print(load_recipe(name).to_yaml(), end="")
        return
    for recipe_name, recipe in list_recipes().items():
        model, backbone = recipe.model.name, recipe.model.backbone.name
        echo(f"{recipe_name}: {model} on {backbone}, {recipe.training.epochs} epochs; {recipe.source}")
