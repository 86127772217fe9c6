"""``tagformer evaluate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagformer.cli.terminal.console import (
    BatchSize,
    CacheGb,
    Data,
    Feedback,
    OnBadImage,
    RunFolder,
    Split,
    Workers,
    advise_tuning,
    echo,
    feature_store,
    print_scores,
    progress_bar,
    split_to_score,
)
from tagformer.errors import TagformerError, check_choice

if TYPE_CHECKING:
    from tagformer.evaluation.evaluate import Evaluation


def evaluate(
    run: RunFolder,
    data: Data = None,
    split: Split = None,
    known_share: Annotated[
        list[str] | None,
        typer.Option("--known-share", "--known", help="Percentages of labels that are known: 0,25,50,75."),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="How often to draw the known labels.")] = 3,
    scored: Annotated[
        str,
        typer.Option(help="fixed: one quarter of the labels; unknown: all labels not known, as in the paper."),
    ] = "fixed",
    known_groups: Annotated[
        str | None, typer.Option(help="Numbers of groups of extra labels that are known: 0,4,10,28.")
    ] = None,
    extra_known: Annotated[
        bool, typer.Option("--extra-known", "--tell-extra", help="The extra labels are known.")
    ] = False,
    feedback: Feedback = False,
    protocol: Annotated[
        str,
        typer.Option(
            help="Whose conventions to score by: tagformer, mlgcn, asl, mltr, ctran, query2label, mmpretrain."
        ),
    ] = "tagformer",
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Probability from which a label is predicted; 0.5, 0.8 for asl.")
    ] = None,
    tuned: Annotated[bool, typer.Option("--tuned", help="Use the thresholds of 'tagformer tune'.")] = False,
    top_k: Annotated[int, typer.Option(min=1, help="Labels per image in the 'top' figures.")] = 3,
    batch_size: BatchSize = 32,
    workers: Workers = 2,
    on_bad_image: OnBadImage = "error",
    cache_gb: CacheGb = 20.0,
    out: Annotated[Path | None, typer.Option(help="Where to write the figures; RUN/metrics.json by default.")] = None,
) -> None:
    """Score a run on a data set, and write metrics.json."""
    from tagformer.evaluation.options import EvaluationOptions
    from tagformer.evaluation.run_evaluation import evaluate_run
    from tagformer.files import check_output_file, write_json
    from tagformer.labels.masking import check_known_share
    from tagformer.metrics.protocols import PROTOCOLS
    from tagformer.runs.run import METRICS, Run

    check_choice("--scored", scored, ("fixed", "unknown"))
    check_choice("--on-bad-image", on_bad_image, ("error", "skip"))
    check_choice("--protocol", protocol, tuple(PROTOCOLS))
    if tuned and threshold is not None:
        raise TagformerError("--tuned and --threshold contradict each other: leave one out.")
    if known_share and len(known_share) > 1:
        raise TagformerError(
            f"--known-share is given {len(known_share)} times: write all percentages in one, separated by commas, "
            f"as {','.join(known_share)}."
        )
    known_shares = parse_shares(known_share[0] if known_share else None)
    for share in known_shares:
        check_known_share(share, scored)
    target = out or run / METRICS
    check_output_file(target)
    loaded = Run.load(run)
    if tuned and not loaded.is_tuned:
        raise TagformerError(f"{run} is not tuned: run 'tagformer tune {run}' first, or leave --tuned out.")
    scored_split = split_to_score(loaded, data, split, on_bad_image)
    options = EvaluationOptions(
        known_shares=known_shares,
        draws=draws,
        scored=scored,
        known_groups=parse_counts(known_groups),
        extra_known=extra_known,
        protocol=protocol,
        threshold=loaded.tuned_thresholds if tuned else threshold,
        top_k=top_k,
        batch_size=batch_size,
        workers=workers,
        on_bad_image=on_bad_image,
        store=feature_store(loaded, cache_gb),
    )
    with progress_bar("Evaluating", len(scored_split.dataset)) as bar:
        evaluation = evaluate_run(loaded, scored_split, options, reuse=False, feedback=feedback, progress=bar)
    write_json(target, {"data": scored_split.spec, "split": scored_split.split, **evaluation.to_dict()})
    print_scores(evaluation)
    _print_notes(evaluation, tuned, ignores_known=bool(known_shares) and not loaded.uses_known and not feedback)
    advise_tuning(loaded, evaluation)
    where = f"{scored_split.spec}, split {scored_split.split}"
    scores = evaluation.regular
    echo(f"{scores.images} images of {where}; {scores.labels_scored} labels have positives; written to {target}")


def _print_notes(evaluation: Evaluation, tuned: bool, ignores_known: bool) -> None:
    """Print what one has to know to read the figures."""
    if tuned:
        echo("The threshold in the table is the mean of the thresholds per label, which 'tagformer tune' chose.")
    if ignores_known:
        echo("This model does not use known labels, so the curve is flat; try --feedback.")
    if evaluation.bad:
        echo(f"{len(evaluation.bad)} bad images were left out, the first: {evaluation.bad[0]}")


def parse_counts(text: str | None) -> tuple[int, ...]:
    """The numbers of ``--known-groups``.

    Raises:
        TagformerError: something that is not a whole number.

    >>> parse_counts("0,4,10")
    (0, 4, 10)
    """
    try:
        return tuple(int(count) for count in text.split(",")) if text else ()
    except ValueError as error:
        raise TagformerError(
            f"--known-groups {text}: write numbers with commas between them, for example 0,4,10."
        ) from error


def parse_shares(text: str | None) -> tuple[float, ...]:
    """The percentages of ``--known-share`` as shares.

    Raises:
        TagformerError: something that is not a percentage.

    >>> parse_shares("0,25,50")
    (0.0, 0.25, 0.5)
    """
    try:
        shares = tuple(float(percentage) / 100 for percentage in text.split(",")) if text else ()
        if not all(math.isfinite(share) for share in shares):
            raise ValueError(text)
    except ValueError as error:
        raise TagformerError(
            f"--known-share {text}: write percentages with commas between them, for example 0,25,50,75."
        ) from error
    if any(0 < share < 0.01 for share in shares):
        raise TagformerError(f"--known-share {text}: these are percentages; for a quarter write 25.")
    return shares
