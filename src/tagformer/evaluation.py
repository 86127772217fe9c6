"""Evaluating a model on a data set: each image is encoded once, and decoded for every set of known labels."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tagformer.data.loading import Batch, evaluation_loader, refuse_bad
from tagformer.data.record import MultiLabelDataset
from tagformer.data.transforms import evaluation_transform, normalise
from tagformer.errors import TagformerError
from tagformer.labels import UNKNOWN, draw_known, draw_order, without_extra
from tagformer.metrics import Scores, evaluate
from tagformer.models import MultiLabelModel
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
class Evaluation:
    """
    Attributes:
        regular: nothing known, every target label scored.
        known: the known-label curve; empty where none was asked for.
        scored: which labels the curve scores, see `labels.draw_known`.
        bad: one sentence for each image left out.
        logits: float32 (N, L) with nothing known.
        labels: int8 (N, L), extra labels set to -1.
        ids: the N images' ids.
    """

    regular: Scores
    known: tuple[KnownPoint, ...]
    scored: str
    bad: tuple[str, ...]
    logits: Tensor
    labels: Tensor
    ids: tuple[str, ...]

    def to_dict(self, names: tuple[str, ...]) -> dict[str, Any]:
        """A form for JSON."""
        value: dict[str, Any] = {**self.regular.to_dict(names), "bad_images": len(self.bad)}
        if self.known:
            value["known"] = {
                "scored": self.scored,
                "curve": [{"fraction": p.fraction, "mAP": p.mAP, "draws": list(p.mAPs)} for p in self.known],
            }
        return value


@dataclass
class _Collected:
    logits: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)

    def add(self, logits: Tensor, targets: Tensor) -> None:
        self.logits.append(logits.float().cpu())
        self.targets.append(targets)

    def score(self, **options: Any) -> Scores:
        return evaluate(torch.cat(self.logits), torch.cat(self.targets), **options)


@torch.inference_mode()
def evaluate_model(
    model: MultiLabelModel,
    dataset: MultiLabelDataset,
    image: ImageSettings,
    *,
    fractions: Sequence[float] = (),
    draws: int = 3,
    scored: str = "fixed",
    tell_extra: bool = False,
    protocol: str = "tagformer",
    threshold: float = 0.5,
    top_k: int = 3,
    batch_size: int = 32,
    workers: int = 2,
    on_bad_image: str = "error",
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score a model on a data set, with nothing known and with fractions of the labels known.

    Args:
        dataset: its columns must be the model's labels (`MultiLabelDataset.aligned`).
        fractions: shares of the target labels that the model is told, for the known-label curve.
        draws: how many times the known labels are drawn; the curve is the mean.
        scored: see `labels.draw_known`.
        tell_extra: tell the model the extra labels too.
        progress: called with the number of images done.

    Raises:
        BadImageError: an image cannot be read, and `on_bad_image` is ``error``.
        TagformerError: a fraction that leaves nothing to score.
    """
    device = next(model.parameters()).device
    model.eval()
    settings = [(fraction, draw) for fraction in fractions for draw in range(draws)]
    regular, sweep = _Collected(), {setting: _Collected() for setting in settings}
    ids: list[str] = []
    bad = list(dataset.left_out)
    options = {"protocol": protocol, "threshold": threshold, "top_k": top_k}
    space = model.label_space
    orders = {draw: draw_order(dataset.ids, space, seed=draw) for draw in range(draws if fractions else 0)}
    loader: Iterable[Batch] = evaluation_loader(
        dataset, evaluation_transform(image.size, image.resize), batch_size, workers, device.type == "cuda"
    )
    for batch in loader:
        refuse_bad(batch.bad, on_bad_image)
        bad += batch.bad
        if not len(batch):
            continue
        ids += batch.ids
        features = model.encode(normalise(batch.images.to(device), *image.statistics(model.backbone)))
        extra = batch.labels.masked_fill(space.is_target, UNKNOWN)
        told = extra.to(device) if tell_extra else None
        regular.add(model.decode(features, told).logits, without_extra(batch.labels, space))
        for fraction, draw in settings:
            known, targets = draw_known(batch.labels, orders[draw][batch.indices], fraction, scored)
            if tell_extra:
                known = torch.where(extra != UNKNOWN, extra, known)
            sweep[fraction, draw].add(model.decode(features, known.to(device)).logits, targets)
        if progress:
            progress(len(ids) + len(bad) - len(dataset.left_out))
    if not ids:
        raise TagformerError(f"{dataset.name}: not one of its {len(bad)} images can be read, the first: {bad[0]}")
    points = {
        fraction: tuple(sweep[fraction, draw].score(**options).mAP for draw in range(draws)) for fraction in fractions
    }
    return Evaluation(
        regular=regular.score(**options),
        known=tuple(KnownPoint(fraction, maps) for fraction, maps in points.items()),
        scored=scored,
        bad=tuple(bad),
        logits=torch.cat(regular.logits),
        labels=torch.cat(regular.targets),
        ids=tuple(ids),
    )
