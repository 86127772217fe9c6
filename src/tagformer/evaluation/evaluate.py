"""Evaluating a model on a data set: each image is encoded once, and decoded for every set of known labels."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import Batch, evaluation_loader, raise_on_bad_images
from tagformer.errors import TagformerError
from tagformer.images.transforms import evaluation_transform, normalise
from tagformer.labels.masking import draw_groups, draw_known, draw_order
from tagformer.labels.space import UNKNOWN, LabelSpace
from tagformer.metrics.groups import group_accuracy
from tagformer.metrics.scores import Scores, evaluate
from tagformer.metrics.sizes import average_precision_by_size
from tagformer.models.base import MultiLabelModel
from tagformer.recipes.settings import ImageSettings


@dataclass(frozen=True)
class KnownPoint:
    """mAP with a fraction of the labels known: for each draw, and their mean."""

    fraction: float
    mAPs: tuple[float, ...]  # noqa: N815

    @property
    def mAP(self) -> float:  # noqa: N802
        return statistics.fmean(self.mAPs)


@dataclass(frozen=True)
class GroupsPoint:
    """Figures with some groups of extra labels known: for each draw.

    Attributes:
        count: how many groups.
        mAPs: of the target labels.
        accuracies: of the target groups whose labels exclude each other, see `metrics.group_accuracy`.
    """

    count: int
    mAPs: tuple[float, ...]  # noqa: N815
    accuracies: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Evaluation:
    """What a model said of a data set, over the T target labels, and how good that is.

    Attributes:
        regular: nothing known, every target label scored.
        known: the known-label curve; empty where none was asked for.
        scored: which labels the curve scores, see `labels.draw_known`.
        bad: one sentence for each image left out.
        names: the T target labels.
        logits: float32 (N, T) with nothing known.
        labels: int8 (N, T).
        ids: the N images' ids.
        sizes: int8 (N, T), see `metrics.average_precision_by_size`; None where the data has none.
        groups: target groups, name -> columns.
        by_groups: figures with groups of extra labels known; empty where none were asked for.
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
        """Top-1 accuracy of the groups of targets whose labels exclude each other, with nothing known."""
        return group_accuracy(self.logits, self.labels, self.groups)

    @property
    def mAP_by_size(self) -> dict[str, float]:  # noqa: N802
        """mAP of small, medium and large objects (MlTr, Table 7); empty where the data has no sizes."""
        if self.sizes is None:
            return {}
        per_size = average_precision_by_size(self.logits, self.labels, self.sizes)
        return {size: values.nanmean().item() for size, values in per_size.items()}

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON."""
        value: dict[str, Any] = {**self.regular.to_dict(self.names), "bad_images": len(self.bad)}
        if self.sizes is not None:
            value["mAP_by_size"] = {size: None if math.isnan(own) else own for size, own in self.mAP_by_size.items()}
        if self.accuracy:
            value["group_accuracy"] = self.accuracy
        if self.by_groups:
            value["known_groups"] = [
                {"count": p.count, "mAP": statistics.fmean(p.mAPs), "draws": list(p.mAPs)}
                | {"accuracy": {name: statistics.fmean(draws) for name, draws in p.accuracies.items()}}
                for p in self.by_groups
            ]
        if self.known:
            value["known"] = {
                "scored": self.scored,
                "curve": [{"fraction": p.fraction, "mAP": p.mAP, "draws": list(p.mAPs)} for p in self.known],
            }
        return value


@dataclass
class _Collected:
    """The batches of one setting, and what they are scored against."""

    targets: Tensor
    logits: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    scored: list[Tensor] = field(default_factory=list)

    def add(self, logits: Tensor, labels: Tensor, scored: Tensor | None = None) -> None:
        self.logits.append(logits.float().cpu()[:, self.targets])
        self.labels.append(labels[:, self.targets])
        if scored is not None:
            self.scored.append(scored[:, self.targets])

    @property
    def both(self) -> tuple[Tensor, Tensor]:
        return torch.cat(self.logits), torch.cat(self.labels)

    def score(self, **options: Any) -> Scores:
        scored = torch.cat(self.scored) if self.scored else None
        return evaluate(*self.both, scored=scored, **options)


@torch.inference_mode()
def evaluate_model(
    model: MultiLabelModel,
    dataset: MultiLabelDataset,
    image: ImageSettings,
    *,
    fractions: Sequence[float] = (),
    draws: int = 3,
    scored: str = "fixed",
    known_groups: Sequence[int] = (),
    tell_extra: bool = False,
    protocol: str = "tagformer",
    threshold: float | Tensor | None = None,
    top_k: int = 3,
    batch_size: int = 32,
    workers: int = 2,
    on_bad_image: str = "error",
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score a model on a data set, with nothing known and with fractions of the labels known.

    Args:
        dataset: its columns must be the model's labels (`MultiLabelDataset.align_to`).
        fractions: shares of the target labels that the model is told, for the known-label curve.
        draws: how many times the known labels are drawn; the curve is the mean.
        scored: see `labels.draw_known`.
        known_groups: numbers of groups of extra labels that the model is told, see `labels.draw_groups`.
        tell_extra: tell the model the extra labels too.
        protocol, threshold, top_k: see `metrics.evaluate`; a threshold may be given for each target label.
        progress: called with the number of images done.

    Raises:
        BadImageError: an image cannot be read, and `on_bad_image` is ``error``.
        TagformerError: a fraction that leaves nothing to score, or more groups than there are.
    """
    device = next(model.parameters()).device
    model.eval()
    settings = [(fraction, draw) for fraction in fractions for draw in range(draws)]
    space = model.label_space
    targets = torch.nonzero(space.is_target).flatten()
    by_groups = {(count, draw): _Collected(targets) for count in known_groups for draw in range(draws)}
    regular, sweep = _Collected(targets), {setting: _Collected(targets) for setting in settings}
    ids: list[str] = []
    indices: list[int] = []
    bad = list(dataset.left_out)
    options = {"protocol": protocol, "threshold": threshold, "top_k": top_k}
    orders = {draw: draw_order(dataset.ids, space, seed=draw) for draw in range(draws if fractions else 0)}
    transform = evaluation_transform(image.size, image.resize) if model.uses_image else None
    loader: Iterable[Batch] = evaluation_loader(dataset, transform, batch_size, workers, device.type == "cuda")
    for batch in loader:
        raise_on_bad_images(batch.bad, on_bad_image)
        bad += batch.bad
        if not len(batch):
            continue
        ids += batch.ids
        indices += batch.indices
        features = model.encode(normalise(batch.images.to(device), *image.statistics(model.backbone)))
        extra = batch.labels.masked_fill(space.is_target, UNKNOWN)
        told = extra.to(device) if tell_extra else None
        untold = model.decode(features, told).logits
        regular.add(untold, batch.labels)
        for fraction, draw in settings:
            known, left = draw_known(batch.labels, orders[draw][batch.indices], fraction, scored)
            logits = untold
            if (known != UNKNOWN).any():
                known = torch.where(extra != UNKNOWN, extra, known) if tell_extra else known
                logits = model.decode(features, known.to(device)).logits
            sweep[fraction, draw].add(logits, batch.labels, left != UNKNOWN)
        for (count, draw), collected in by_groups.items():
            known = draw_groups(batch.labels, batch.ids, space, count, seed=draw)
            collected.add(model.decode(features, known.to(device)).logits, batch.labels)
        if progress:
            progress(len(ids) + len(bad) - len(dataset.left_out))
    if not ids:
        raise TagformerError(f"{dataset.name}: not one of its {len(bad)} images can be read, the first: {bad[0]}")
    points = {
        fraction: tuple(sweep[fraction, draw].score(**options).mAP for draw in range(draws)) for fraction in fractions
    }
    groups = _target_groups(space)
    sizes = None if dataset.sizes is None else dataset.sizes[indices][:, targets]
    return Evaluation(
        regular=regular.score(**options),
        known=tuple(KnownPoint(fraction, maps) for fraction, maps in points.items()),
        scored=scored,
        bad=tuple(bad),
        names=tuple(space.names[column] for column in targets.tolist()),
        logits=torch.cat(regular.logits),
        labels=torch.cat(regular.labels),
        ids=tuple(ids),
        sizes=sizes,
        groups=groups,
        by_groups=tuple(
            _groups_point(count, [by_groups[count, draw] for draw in range(draws)], groups) for count in known_groups
        ),
    )


def _target_groups(space: LabelSpace) -> dict[str, tuple[int, ...]]:
    """The groups that consist of targets alone, as columns among the targets."""
    targets = [name for name in space.names if name not in set(space.extra)]
    place = {name: column for column, name in enumerate(targets)}
    return {
        group: tuple(place[name] for name in members)
        for group, members in space.groups.items()
        if members and all(name in place for name in members)
    }


def _groups_point(count: int, draws: Sequence[_Collected], groups: Mapping[str, Sequence[int]]) -> GroupsPoint:
    accuracies = [group_accuracy(*own.both, groups) for own in draws]
    return GroupsPoint(
        count,
        tuple(own.score().mAP for own in draws),
        {name: tuple(each[name] for each in accuracies) for name in accuracies[0]},
    )
