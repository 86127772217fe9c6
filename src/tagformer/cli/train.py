"""``tagformer train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from tagformer.cli.terminal.console import (
    CacheGb,
    advise_tuning,
    console,
    echo,
    feature_store,
    percent,
    print_scores,
    progress_bar,
)
from tagformer.errors import TagformerError

if TYPE_CHECKING:
    from tagformer.data.dataset import MultiLabelDataset
    from tagformer.recipes.recipe import Recipe
    from tagformer.runs.run import Run
    from tagformer.training.train import Fitted

DEFAULT_MODEL = "evidence"
DEFAULT_MINUTES = 10.0  # of training in stages
MINUTES_FOR_SIZES = 5.0  # from which on two image sizes are tried
FEW = 10  # positives below which a warning names the label


def train(
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    data: Annotated[str | None, typer.Option(help="FORMAT:PATH, for example csv:my.csv; see 'tagformer data'.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe's name or file; without one the settings are chosen from the data.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model's name (see 'tagformer models'), or your own as package.module:Class.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Any timm network, 'tiny', or your own as package.module:Class.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A local file of backbone weights to load instead of a download.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="A run to start from, without its heads, or a file of backbone weights."),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, for example optimizer.lr=1e-4.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.5, help="Plan the epochs for about this time; 10 without a recipe and a model."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    on_bad_image: Annotated[str | None, typer.Option(help="error (default) or skip.")] = None,
    cache_gb: CacheGb = 20.0,
) -> None:
    """Train a tagger into a run folder."""
    from tagformer.training.fitting import fit
    from tagformer.training.prepare import Reporter

    given: dict[str, Any] = {
        "--data": data,
        "--recipe": recipe,
        "--model": model,
        "--backbone": backbone,
        "--weights": weights,
        "--init": init,
    }
    if resume:
        given = {**given, "--set": set_, "--minutes": minutes}
        settings = _resumed(out, [name for name, value in given.items() if value], on_bad_image)
    else:
        overrides = list(set_ or ())
        overrides += [f"data.on_bad_image={on_bad_image}"] if on_bad_image else []
        if init is not None and init.is_file():
            weights = init
        elif init is not None:
            overrides.append(f"model.init={init.expanduser().resolve()}")
        settings = _recipe(data, recipe, model, backbone, weights, overrides, on_bad_image or "error")
        given_minutes = any(text.startswith("stages.minutes=") for text in overrides)
        if settings.stages is not None and (minutes is not None or (recipe is None and not given_minutes)):
            settings.stages.minutes = minutes or DEFAULT_MINUTES
            if settings.stages.minutes < MINUTES_FOR_SIZES or any(text.startswith("image.size=") for text in overrides):
                settings.stages.sizes = ()
        _describe(settings)
    reporter = Reporter(echo, _print_epoch, bars=console.is_terminal, bar=progress_bar)
    fitted = fit(settings, out, resume, reporter, cache_gb, minutes)
    if fitted.bad_images:
        echo(f"{len(fitted.bad_images)} bad images were left out, the first: {min(fitted.bad_images)}")
    _finish(fitted, cache_gb)


def _resumed(out: Path, given: list[str], on_bad_image: str | None) -> Recipe:
    from tagformer.recipes.recipe import load_recipe
    from tagformer.runs.lock import run_lock
    from tagformer.runs.run import LABELS, RECIPE, Run
    from tagformer.training.prepare import check_resumable

    if not (out / RECIPE).is_file():
        raise TagformerError(f"nothing to resume: {out} is not a run folder; leave --resume out to start one.")
    if given:
        raise TagformerError(f"--resume takes every setting from {out / RECIPE}: leave {', '.join(given)} out.")
    recipe = Run.load(out).recipe if (out / LABELS).is_file() else load_recipe(out / RECIPE)
    check_resumable(out, recipe)
    if on_bad_image is not None:  # a run that was stopped by a bad image may go on without it
        recipe = recipe.overridden([f"data.on_bad_image={on_bad_image}"])
        with run_lock(out):
            recipe.save(out / RECIPE)
    return recipe


def _recipe(
    data: str | None,
    name: str | None,
    model: str | None,
    backbone: str | None,
    weights: Path | None,
    overrides: list[str],
    on_bad_image: str,
) -> Recipe:
    """The recipe of these options, complete with the data and the model."""
    from tagformer.data.load import load_dataset
    from tagformer.data.registry import Spec
    from tagformer.models.registry import model_class
    from tagformer.recipes.recipe import load_recipe
    from tagformer.training.auto_recipe import plan_recipe

    if weights is not None:
        overrides.append(f"model.backbone.weights={weights.expanduser().resolve()}")
    if name is not None:
        recipe = load_recipe(name)
        if model and model != recipe.model.name:
            recipe.model.options = _of_model(recipe, model)
            recipe.sources = _of_settings(recipe)
        overrides += [f"model.name={model}"] if model else []
        if backbone and backbone != recipe.model.backbone.name:
            recipe.model.backbone.options = _of_backbone(recipe, backbone)
            recipe.sources = {key: text for key, text in recipe.sources.items() if not key.startswith("model.backbone")}
        overrides += [f"model.backbone.name={backbone}"] if backbone else []
    else:
        if data is None:
            raise TagformerError("no data: name it with --data FORMAT:PATH, for example --data csv:my.csv.")
        if model is not None:
            model_class(model)  # raises if the model is unknown, before the data are read
        recipe = plan_recipe(load_dataset(data, "train", on_bad_image), model or DEFAULT_MODEL, backbone)
    if data is not None:
        recipe.data.spec = data
    recipe = recipe.overridden(overrides)
    if recipe.data.spec is None:
        raise TagformerError("no data: this recipe names none; name it with --data FORMAT:PATH.")
    recipe.data.spec = str(Spec.parse(recipe.data.spec))
    return recipe


def _of_model(recipe: Recipe, model: str) -> dict[str, Any]:
    """The recipe's model options that another model has too; the others are reported.

    The dropout and the heads of a model with encoder layers are those of the layers; in a model without them the same
    names mean another thing.
    """
    from tagformer.models.registry import model_class

    allowed, options = model_class(model).options(), recipe.model.options
    if "layers" not in allowed:
        allowed = {name: default for name, default in allowed.items() if name not in ("dropout", "heads")}
    kept = {name: value for name, value in options.items() if name in allowed}
    if dropped := [name for name in options if name not in kept]:
        echo(f"Options of {recipe.model.name} that {model} does not have are left out: {', '.join(dropped)}.")
    return kept


def _of_backbone(recipe: Recipe, backbone: str) -> dict[str, Any]:
    """The recipe's backbone options, for another backbone: those of a variant of MlTr fit other variants only."""
    from tagformer.recipes.image_sizes import IMAGE_SIZES

    before = recipe.model.backbone
    keep = (before.name in IMAGE_SIZES) == (backbone in IMAGE_SIZES)
    return before.options if keep else {}


def _of_settings(recipe: Recipe) -> dict[str, str]:
    """The recipe's sources without those of model options that it no longer has."""
    prefix, options = "model.options.", recipe.model.options
    return {
        key: source
        for key, source in recipe.sources.items()
        if not key.startswith(prefix) or key.removeprefix(prefix).partition(".")[0] in options
    }


def _describe(recipe: Recipe) -> None:
    """Print what will be trained, and with which settings."""
    image, training, backbone, stages = recipe.image, recipe.training, recipe.model.backbone, recipe.stages
    source = backbone.weights or ("timm's weights" if backbone.pretrained else "random weights")
    echo(f"Recipe {recipe.name} ({recipe.source}): {recipe.model.name} on {backbone.name} ({source}),")
    echo(
        f"  {image.size} pixels, {'in stages' if stages else f'{training.epochs} epochs'}, batches of "
        f"{recipe.data.batch_size}, "
        f"learning rate {recipe.optimizer.lr:g}, seed {training.seed}; change any setting with --set KEY=VALUE."
    )


def _print_epoch(row: dict[str, Any]) -> None:
    validation = ""
    if "val_mAP" in row:
        validation = f"val loss {row['val_loss']:.4f}  val mAP {percent(row['val_mAP'])}  "
    if "val_accuracy" in row:
        validation += f"val accuracy {percent(row['val_accuracy'])}  "
    echo(f"epoch {row['epoch']:>3}  step {row['step']:>6}  loss {row['loss']:.4f}  {validation}{row['seconds']:.0f} s")


def _finish(fitted: Fitted, cache_gb: float) -> None:
    """Score the run on its test split (or validation), warn of rare labels, and print what to do next."""
    from tagformer.data.registry import Spec
    from tagformer.evaluation.options import EvaluationOptions
    from tagformer.evaluation.run_evaluation import evaluate_run, load_split
    from tagformer.files import write_json
    from tagformer.metrics.scores import label_frequency_baseline
    from tagformer.runs.run import METRICS, Run

    run = Run.load(fitted.folder)
    settings = run.recipe.data
    if run.recipe.stages is not None:
        _print_stages(fitted)
    if not len(fitted.val) and Spec.parse(str(settings.spec)).evaluation_split == "val":
        echo("All images were trained on, so none are left to evaluate on: name others with 'evaluate --data'.")
        _warn_of_rare_labels(fitted.train)
        return
    data = load_split(run, on_bad_image=settings.on_bad_image)
    options = EvaluationOptions(
        batch_size=settings.batch_size,
        workers=settings.workers,
        on_bad_image=settings.on_bad_image,
        threshold=run.tuned_thresholds,
        store=feature_store(run, cache_gb),
    )
    with progress_bar(f"Evaluating on {data.split}", len(data.dataset)) as bar:
        evaluation = evaluate_run(run, data, options, reuse=False, progress=bar)
    write_json(fitted.folder / METRICS, {"data": data.spec, "split": data.split, **evaluation.to_dict()})
    print_scores(evaluation)
    baseline = label_frequency_baseline(evaluation.labels)
    figures = f"mAP {percent(evaluation.regular.mAP)} on the {data.split} split"
    note = " The threshold is the mean of those per label, chosen on out-of-fold predictions." if run.is_tuned else ""
    echo(f"{figures}; label frequencies alone give {percent(baseline)}.{note}")
    if len(fitted.val) and data.split != "val" and run.recipe.stages is None:
        echo("The val mAP of each epoch is measured on the validation images, by which the best epoch was chosen.")
    if len(fitted.val):
        advise_tuning(run, evaluation)
    _warn_of_rare_labels(fitted.train)
    _print_next_commands(run)


def _print_stages(fitted: Fitted) -> None:
    """Print what each stage reached on the images that were held out from it."""
    from tagformer.training.stages.record import Record

    table = Table(title="mAP on held-out training images, %", box=box.SIMPLE_HEAD)
    for column in ("stage", "nothing known", "25 %", "50 %", "75 % known", "seconds", "kept"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in Record.load(fitted.folder).stages:
        curve = [percent(value) for value in stage.curve[1:]] or ["", "", ""]
        kept = "yes" if stage.kept else "no"
        table.add_row(stage.name, percent(stage.mAP), *curve, f"{stage.seconds:.0f}", kept)
    console.print(table)


def _print_next_commands(run: Run) -> None:
    """Print three commands that can be copied and run."""
    folder, data = shlex.quote(str(run.folder)), shlex.quote(str(run.recipe.data.spec))
    echo("\nNext:")
    echo(f"  tagformer evaluate {folder}{' --known-share 0,25,50,75' if run.uses_known else ''}")
    echo(f"  tagformer predict {folder} IMAGES... --sheet tags.png")
    if run.uses_known:
        name = run.label_space.names[0].replace("\\", "\\\\").replace(",", "\\,")
        echo(f"  tagformer predict {folder} IMAGE --known {shlex.quote(f'{name}=yes')}")
    else:
        backbone = run.recipe.model.backbone
        weights = f" --weights {shlex.quote(backbone.weights)}" if backbone.weights else ""
        network = f"--backbone {backbone.name}{weights}"
        echo(f"  tagformer train --model ctran {network} --data {data} --out {folder}-ctran")


def _warn_of_rare_labels(train: MultiLabelDataset) -> None:
    """Print how many labels have few training images."""
    from tagformer.labels.space import PRESENT

    counts = train.label_rows.count(PRESENT)[train.label_space.is_target]
    names = [name for name in train.label_space.names if name not in train.label_space.extra]
    rare = [name for name, count in zip(names, counts.tolist(), strict=True) if count < FEW]
    if rare:
        some = ", ".join(rare[:5]) + (", ..." if len(rare) > 5 else "")
        echo(f"Warning: {len(rare)} of {len(names)} labels have fewer than {FEW} training images: {some}")
