"""What one pass over a data set collects: each batch is decoded once for every set of known labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import Batch
from tagformer.evaluation.options import EvaluationOptions
from tagformer.features.batches import MapBatch
from tagformer.labels.masking import draw_groups, draw_known, draw_order
from tagformer.labels.space import UNKNOWN, LabelSpace
from tagformer.metrics.scores import Scores, evaluate
from tagformer.models.base import MultiLabelModel


@dataclass
class Collected:
    """The logits of every batch under one set of known labels, and what they are scored against.

    Attributes:
        targets: int64 (T,), the columns of the target labels; only these are kept.
        logits, labels: (B, T) for each batch.
        scored: bool (B, T) for each batch; empty where every label is scored.
    """

    targets: Tensor
    logits: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    scored: list[Tensor] = field(default_factory=list)

    def add(self, logits: Tensor, labels: Tensor, scored: Tensor | None = None) -> None:
        """Keep the target columns of a batch's logits (B, L) and labels (B, L)."""
        self.logits.append(logits.float().cpu()[:, self.targets])
        self.labels.append(labels[:, self.targets])
        if scored is not None:
            self.scored.append(scored[:, self.targets])

    def joined(self) -> tuple[Tensor, Tensor]:
        """The logits and labels (N, T) of all batches."""
        return torch.cat(self.logits), torch.cat(self.labels)

    def score(self, **options: Any) -> Scores:
        """The figures of all batches; `options` are those of `metrics.evaluate`."""
        scored = torch.cat(self.scored) if self.scored else None
        return evaluate(*self.joined(), scored=scored, **options)


class Sweep:
    """The sets of known labels that an evaluation asks for, each with what it collects.

    Attributes:
        targets: int64 (T,), the columns of the target labels.
        regular: no label known, or the extra labels alone.
        by_share: with a share of the target labels known, by (share, draw).
        by_groups: with a number of groups of extra labels known, by (number, draw).
    """

    def __init__(self, dataset: MultiLabelDataset, label_space: LabelSpace, options: EvaluationOptions) -> None:
        self.options = options
        self.label_space = label_space
        self.targets = torch.nonzero(label_space.is_target).flatten()
        self.regular = Collected(self.targets)
        self.by_share = self._collected(options.known_shares)
        self.by_groups = self._collected(options.known_groups)
        draws = options.draws if options.known_shares else 0
        self._orders = [draw_order(dataset.ids, label_space, seed=draw) for draw in range(draws)]

    def _collected(self, settings: Iterable[Any]) -> dict[tuple[Any, int], Collected]:
        return {(setting, draw): Collected(self.targets) for setting in settings for draw in range(self.options.draws)}

    def add(self, model: MultiLabelModel, features: Tensor, batch: Batch | MapBatch) -> None:
        """Decode a batch's features under every set of known labels."""
        device = features.device
        extra = batch.labels.masked_fill(self.label_space.is_target, UNKNOWN)
        extra_known = self.options.extra_known
        regular = model.decode(features, extra.to(device) if extra_known else None).logits
        self.regular.add(regular, batch.labels)
        for (share, draw), collected in self.by_share.items():
            known, targets = draw_known(batch.labels, self._orders[draw][batch.indices], share, self.options.scored)
            logits = regular
            if (known != UNKNOWN).any():
                known = torch.where(extra != UNKNOWN, extra, known) if extra_known else known
                logits = model.decode(features, known.to(device)).logits
            collected.add(logits, batch.labels, targets != UNKNOWN)
        for (count, draw), collected in self.by_groups.items():
            known = draw_groups(batch.labels, batch.ids, self.label_space, count, seed=draw)
            collected.add(model.decode(features, known.to(device)).logits, batch.labels)
