"""``tagformer evaluate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagformer.cli.console import check_choice, print_scores, progress_bar, say
from tagformer.errors import TagformerError

if TYPE_CHECKING:
    from tagformer.data import MultiLabelDataset
    from tagformer.recipes import Recipe


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[str | None, typer.Option(help="FORMAT:PATH; the run's own data when left out.")] = None,
    split: Annotated[str | None, typer.Option(help="train, val, test or all; test where there is one.")] = None,
    known: Annotated[str | None, typer.Option(help="Percentages of labels to tell the model: 0,25,50,75.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="How often to draw the known labels.")] = 3,
    scored: Annotated[
        str,
        typer.Option(help="fixed: one quarter of the labels; unknown: all that are not told, as the paper."),
    ] = "fixed",
    tell_extra: Annotated[bool, typer.Option("--tell-extra", help="Tell the model the extra labels.")] = False,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Probability from which a label is predicted.")] = 0.5,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    workers: Annotated[int, typer.Option(min=0)] = 2,
    on_bad_image: Annotated[str, typer.Option(help="error or skip.")] = "error",
    out: Annotated[Path | None, typer.Option(help="Where to write the figures; RUN/metrics.json by default.")] = None,
) -> None:
    """Score a run on a data set, and write metrics.json."""
    from tagformer.evaluation import evaluate_model
    from tagformer.files import write_json
    from tagformer.run import METRICS, Run, default_device

    check_choice("--scored", scored, ("fixed", "unknown"))
    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    fractions = _fractions(known)
    loaded = Run.load(run)
    spec = data or loaded.recipe.data.spec
    if spec is None:
        raise TagformerError("no data: name it with --data FORMAT:PATH.")
    split, dataset = _split(loaded.recipe, spec, split, on_bad_image)
    missing = set(loaded.label_space.names) - set(dataset.label_space.names)
    if missing:
        meaning = "absent" if dataset.exhaustive else "unknown"
        example = f"for example '{min(missing)}'"
        say(f"{len(missing)} of the model's labels are not in {spec} and count as {meaning}, {example}.")
    dataset = dataset.aligned(loaded.label_space)
    model = loaded.model().to(default_device())
    with progress_bar("Evaluating", len(dataset)) as bar:
        evaluation = evaluate_model(
            model,
            dataset,
            loaded.recipe.image,
            fractions=fractions,
            draws=draws,
            scored=scored,
            tell_extra=tell_extra,
            threshold=threshold,
            batch_size=batch_size,
            workers=workers,
            on_bad_image=on_bad_image,
            progress=bar,
        )
    target = out or run / METRICS
    write_json(target, {"data": spec, "split": split, **evaluation.to_dict(loaded.label_space.names)})
    print_scores(evaluation)
    if fractions and not model.uses_known:
        say("This model does not use known labels, so the curve is flat.")
    if evaluation.bad:
        say(f"{len(evaluation.bad)} bad images were left out, the first: {evaluation.bad[0]}")
    scores = evaluation.regular
    say(f"{scores.images} images, {scores.labels_scored} labels with a positive; written to {target}")


def _split(recipe: Recipe, spec: str, split: str | None, on_bad_image: str) -> tuple[str, MultiLabelDataset]:
    """The split to score. A validation split that training drew from the run's own data is drawn again."""
    from tagformer.data.registry import Spec, load_dataset, load_training_data

    parsed = Spec.parse(spec)
    split = split or parsed.evaluation_split
    if split == "val" and parsed.splits and "val" not in parsed.splits and spec == recipe.data.spec:
        settings = recipe.data
        return split, load_training_data(spec, settings.val_fraction, recipe.training.seed, on_bad_image)[1]
    return split, load_dataset(spec, split, on_bad_image)


def _fractions(known: str | None) -> tuple[float, ...]:
    try:
        fractions = tuple(float(part) / 100 for part in known.split(",")) if known else ()
        if not all(math.isfinite(fraction) for fraction in fractions):
            raise ValueError(known)
        return fractions
    except ValueError as error:
        raise TagformerError(
            f"--known {known}: write percentages with commas between them, for example 0,25,50,75."
        ) from error
