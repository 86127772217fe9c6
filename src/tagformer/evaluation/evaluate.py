"""Evaluating a model on a data set: each image is encoded once, and decoded for every set of known labels."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.evaluation.options import EvaluationOptions
from tagformer.evaluation.sweep import Collected, Sweep
from tagformer.features.encoding import encoded_batches
from tagformer.images.preprocessing import Preprocessing
from tagformer.labels.space import LabelSpace
from tagformer.metrics.groups import group_accuracy
from tagformer.metrics.scores import Scores
from tagformer.metrics.sizes import average_precision_by_size
from tagformer.models.base import MultiLabelModel


@dataclass(frozen=True)
class KnownPoint:
    """A point of the known-label curve: mAP with a share of the labels known, for each draw.

    >>> from tagformer.evaluation.evaluate import KnownPoint
    >>> KnownPoint(known_share=0.25, mAPs=(0.5, 0.75)).mAP
    0.625
    """

    known_share: float
    mAPs: tuple[float, ...]  # noqa: N815

    @property
    def mAP(self) -> float:  # noqa: N802
        """The mean over the draws."""
        return statistics.fmean(self.mAPs)


@dataclass(frozen=True)
class GroupsPoint:
    """Figures with some groups of extra labels known, for each draw.

    Attributes:
        count: how many groups are known.
        mAPs: of the target labels.
        accuracies: of the target groups whose labels exclude each other, see `metrics.group_accuracy`.
    """

    count: int
    mAPs: tuple[float, ...]  # noqa: N815
    accuracies: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Evaluation:
    """The logits of a model over a data set's T target labels, and their figures.

    Attributes:
        regular: the figures with no label known (or the extra labels alone), every target label scored.
        known: the known-label curve; empty where none was requested.
        scored: which labels the curve scores, see `labels.draw_known`.
        bad: one sentence for each image left out.
        names: the T target labels.
        logits: float32 (N, T) of `regular`.
        labels: int8 (N, T).
        ids: the N images' ids.
        sizes: int8 (N, T), see `metrics.average_precision_by_size`; None where the data has none.
        groups: target groups, name -> columns.
        by_groups: figures with groups of extra labels known; empty where none were requested.

    >>> from tagformer.evaluation import evaluate_run, load_split
    >>> from tagformer.runs import Run
    >>> run = Run.load("runs/mine")
    >>> evaluation = evaluate_run(run, load_split(run))
    >>> evaluation.logits.shape, evaluation.known, len(evaluation.names)
    (torch.Size([16, 12]), (), 12)
    """

    regular: Scores
    known: tuple[KnownPoint, ...]
    scored: str
    bad: tuple[str, ...]
    names: tuple[str, ...]
    logits: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    sizes: Tensor | None = None
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    by_groups: tuple[GroupsPoint, ...] = ()

    @property
    def accuracy(self) -> dict[str, float]:
        """Top-1 accuracy of the groups of targets whose labels exclude each other, with no label known."""
        return group_accuracy(self.logits, self.labels, self.groups)

    @property
    def mAP_by_size(self) -> dict[str, float]:  # noqa: N802
        """mAP of small, medium and large objects (MlTr, Table 7); empty where the data has no sizes."""
        if self.sizes is None:
            return {}
        per_size = average_precision_by_size(self.logits, self.labels, self.sizes)
        return {size: values.nanmean().item() for size, values in per_size.items()}

    def to_dict(self) -> dict[str, Any]:
        """The figures in a form for JSON, as ``metrics.json`` has them."""
        value: dict[str, Any] = {**self.regular.to_dict(self.names), "bad_images": len(self.bad)}
        if self.sizes is not None:
            value["mAP_by_size"] = {size: None if math.isnan(mAP) else mAP for size, mAP in self.mAP_by_size.items()}
        if self.accuracy:
            value["group_accuracy"] = self.accuracy
        if self.by_groups:
            value["known_groups"] = [
                {"count": point.count, "mAP": statistics.fmean(point.mAPs), "draws": list(point.mAPs)}
                | {"accuracy": {name: statistics.fmean(draws) for name, draws in point.accuracies.items()}}
                for point in self.by_groups
            ]
        if self.known:
            curve = [
                {"fraction": point.known_share, "mAP": point.mAP, "draws": list(point.mAPs)} for point in self.known
            ]
            value["known"] = {"scored": self.scored, "curve": curve}
        return value


@torch.inference_mode()
def evaluate_model(
    model: MultiLabelModel,
    dataset: MultiLabelDataset,
    preprocessing: Preprocessing,
    options: EvaluationOptions | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score a model on a data set, with no label known and with whatever the options say is known.

    Args:
        model: on the device to use.
        dataset: its columns must be the model's labels (`MultiLabelDataset.align_to`).
        preprocessing: how an image becomes the model's input; `Run.preprocessing` for a trained model.
        options: None: the defaults of `EvaluationOptions`.
        progress: called with the number of images done.

    Raises:
        BadImageError: an image cannot be read, and ``options.on_bad_image`` is ``error``.
        TagformerError: a known share that leaves nothing to score, more groups than there are, or no readable image.

    >>> import tagformer
    >>> from tagformer.evaluation import EvaluationOptions
    >>> from tagformer.images import Preprocessing
    >>> dataset = tagformer.load_dataset("scenes?images=24", split="test")
    >>> model = tagformer.create_model("ctran", dataset.label_space, "tiny", width=16)
    >>> options = EvaluationOptions(known_shares=(0, 0.5), workers=0)
    >>> evaluation = tagformer.evaluate_model(model, dataset, Preprocessing(size=32), options)
    >>> evaluation.logits.shape, [point.known_share for point in evaluation.known]
    (torch.Size([4, 12]), [0, 0.5])
    """
    options = options or EvaluationOptions()
    model.eval()
    sweep = Sweep(dataset, model.label_space, options)
    ids, rows, bad = _run_sweep(model, dataset, preprocessing, sweep, progress)
    if not ids:
        raise TagformerError(f"{dataset.name}: not one of its {len(bad)} images can be read, the first: {bad[0]}")
    space = model.label_space
    groups = _target_groups(space)
    logits, labels = sweep.regular.joined()
    return Evaluation(
        regular=sweep.regular.score(**options.metrics),
        known=_known_curve(sweep, options),
        scored=options.scored,
        bad=tuple(bad),
        names=tuple(space.names[column] for column in sweep.targets.tolist()),
        logits=logits,
        labels=labels,
        ids=tuple(ids),
        sizes=None if dataset.sizes is None else dataset.sizes[rows][:, sweep.targets],
        groups=groups,
        by_groups=tuple(
            _groups_point(count, [sweep.by_groups[count, draw] for draw in range(options.draws)], groups)
            for count in options.known_groups
        ),
    )


def _run_sweep(
    model: MultiLabelModel,
    dataset: MultiLabelDataset,
    preprocessing: Preprocessing,
    sweep: Sweep,
    progress: Callable[[int], None] | None,
) -> tuple[list[str], list[int], list[str]]:
    """Encode every image once and decode it for the sweep; the ids, the rows, and the bad images' sentences."""
    options = sweep.options
    ids: list[str] = []
    rows: list[int] = []
    bad = list(dataset.left_out)
    batches = encoded_batches(
        model,
        dataset,
        preprocessing,
        options.store,
        batch_size=options.batch_size,
        workers=options.workers,
        on_bad_image=options.on_bad_image,
        progress=progress,
    )
    for batch, features in batches:
        bad += batch.bad
        if features is None:
            continue
        ids += batch.ids
        rows += batch.indices
        sweep.add(model, features, batch)
        if progress:
            progress(len(ids) + len(bad) - len(dataset.left_out))
    return ids, rows, bad


def _known_curve(sweep: Sweep, options: EvaluationOptions) -> tuple[KnownPoint, ...]:
    """The known-label curve, a point for each share."""
    return tuple(
        KnownPoint(
            share, tuple(sweep.by_share[share, draw].score(**options.metrics).mAP for draw in range(options.draws))
        )
        for share in dict.fromkeys(options.known_shares)
    )


def _target_groups(space: LabelSpace) -> dict[str, tuple[int, ...]]:
    """The groups that consist of targets alone, as columns among the targets."""
    targets = [name for name in space.names if name not in set(space.extra)]
    column_of = {name: column for column, name in enumerate(targets)}
    return {
        group: tuple(column_of[name] for name in members)
        for group, members in space.groups.items()
        if members and all(name in column_of for name in members)
    }


def _groups_point(count: int, draws: Sequence[Collected], groups: Mapping[str, Sequence[int]]) -> GroupsPoint:
    accuracies = [group_accuracy(*collected.joined(), groups) for collected in draws]
    return GroupsPoint(
        count,
        tuple(collected.score().mAP for collected in draws),
        {group: tuple(per_draw[group] for per_draw in accuracies) for group in accuracies[0]},
    )
