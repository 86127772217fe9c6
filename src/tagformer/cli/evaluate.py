"""``tagformer evaluate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from tagformer.cli.console import echo, print_scores, progress_bar, split_to_score
from tagformer.errors import TagformerError, check_choice


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
    known_groups: Annotated[
        str | None, typer.Option(help="Numbers of groups of extra labels to tell the model: 0,4,10,28.")
    ] = None,
    tell_extra: Annotated[bool, typer.Option("--tell-extra", help="Tell the model the extra labels.")] = False,
    feedback: Annotated[
        bool, typer.Option("--feedback", help="Tell what is known by feedback propagation, which works with any model.")
    ] = False,
    protocol: Annotated[
        str, typer.Option(help="Whose conventions to score by: tagformer, mlgcn, asl, ctran, query2label, mmpretrain.")
    ] = "tagformer",
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Probability from which a label is predicted; 0.5, 0.8 for asl.")
    ] = None,
    tuned: Annotated[bool, typer.Option("--tuned", help="Use the thresholds of 'tagformer tune'.")] = False,
    top_k: Annotated[int, typer.Option(min=1, help="How many labels an image has in the 'top' figures.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    workers: Annotated[int, typer.Option(min=0)] = 2,
    on_bad_image: Annotated[str, typer.Option(help="error or skip.")] = "error",
    out: Annotated[Path | None, typer.Option(help="Where to write the figures; RUN/metrics.json by default.")] = None,
) -> None:
    """Score a run on a data set, and write metrics.json."""
    from tagformer.evaluation.run_evaluation import evaluate_run
    from tagformer.files import check_output_file, write_json
    from tagformer.metrics.protocols import PROTOCOLS
    from tagformer.runs.run import METRICS, Run

    check_choice("--scored", scored, ("fixed", "unknown"))
    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    check_choice("--protocol", protocol, tuple(PROTOCOLS))
    if tuned and threshold is not None:
        raise TagformerError("--tuned and --threshold contradict each other: leave one out.")
    fractions = _fractions(known)
    target = out or run / METRICS
    check_output_file(target)
    loaded = Run.load(run)
    chosen = split_to_score(loaded, data, split, on_bad_image)
    with progress_bar("Evaluating", len(chosen.dataset)) as bar:
        evaluation = evaluate_run(
            loaded,
            chosen,
            reuse=False,
            fractions=fractions,
            draws=draws,
            scored=scored,
            known_groups=_counts(known_groups),
            tell_extra=tell_extra,
            feedback=feedback,
            protocol=protocol,
            threshold=loaded.uncalibrated_thresholds[loaded.label_space.is_target] if tuned else threshold,
            top_k=top_k,
            batch_size=batch_size,
            workers=workers,
            on_bad_image=on_bad_image,
            progress=bar,
        )
    write_json(target, {"data": chosen.spec, "split": chosen.split, **evaluation.to_dict()})
    print_scores(evaluation)
    if tuned:
        echo("The threshold of the table is the mean of the labels' own, which 'tagformer tune' chose.")
    if fractions and not loaded.uses_known and not feedback:
        echo("This model does not use known labels, so the curve is flat; try --feedback.")
    if evaluation.bad:
        echo(f"{len(evaluation.bad)} bad images were left out, the first: {evaluation.bad[0]}")
    scores = evaluation.regular
    echo(
        f"{scores.images} images of {chosen.spec}, split {chosen.split}; {scores.labels_scored} labels have positives; "
        f"written to {target}"
    )


def _counts(groups: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in groups.split(",")) if groups else ()
    except ValueError as error:
        raise TagformerError(
            f"--known-groups {groups}: write numbers with commas between them, for example 0,4,10."
        ) from error


def _fractions(known: str | None) -> tuple[float, ...]:
    try:
        fractions = tuple(float(part) / 100 for part in known.split(",")) if known else ()
        if not all(math.isfinite(fraction) for fraction in fractions):
            raise ValueError(known)
        if any(0 < fraction < 0.01 for fraction in fractions):
            raise TagformerError(f"--known {known}: these are percentages; for a quarter write 25.")
        return fractions
    except ValueError as error:
        raise TagformerError(
            f"--known {known}: write percentages with commas between them, for example 0,25,50,75."
        ) from error
