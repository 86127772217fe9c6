"""A torchmetrics metric around `evaluate`: batches in, figures out, the same on one process and on many."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from tagformer.metrics.scores import Scores, evaluate


class MultiLabelScores(Metric):
    """Collects logits on the CPU in float32 and scores them together, each image once.

    A distributed sampler gives some images to two processes, so that all have equally many; they are told apart by
    their ids and count once. Processes may hold different numbers of images, or none.

    Args:
        protocol, threshold, top_k: of `evaluate`.
        options: of `torchmetrics.Metric`.

    Attributes:
        scores: what the last `compute` gave in full, the labels' own figures included.
        collected: logits (N, L) and labels (N, L) that the last `compute` scored.

    >>> metric = MultiLabelScores()
    >>> logits, labels = torch.tensor([[2.0, -1.0], [-3.0, 1.0]]), torch.tensor([[1, 0], [0, 1]], dtype=torch.int8)
    >>> metric.update(logits, labels, ["a.jpg", "b.jpg"])
    >>> metric.update(logits[:1], labels[:1], ["a.jpg"])  # again: does not count
    >>> metric.compute()["mAP"].item(), metric.scores.images
    (1.0, 2)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    logits: list[Tensor]  # a tensor while processes are in step, as the others
    labels: list[Tensor]
    keys: list[Tensor]

    def __init__(
        self, protocol: str = "tagformer", threshold: float | None = None, top_k: int = 3, **options: Any
    ) -> None:
        super().__init__(**{"dist_sync_fn": _gather, "compute_on_cpu": True, **options})
        self.protocol, self.threshold, self.top_k = protocol, threshold, top_k
        self.scores: Scores | None = None
        self.collected: tuple[Tensor, Tensor] | None = None
        for state in ("logits", "labels", "keys"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor, ids: Sequence[str | int]) -> None:
        """Add a batch.

        Args:
            logits: (B, L).
            labels: (B, L) in {1, 0, -1}.
            ids: B names or numbers, unique in the data set.

        Raises:
            ValueError: the sizes do not agree.
        """
        if logits.shape != labels.shape or logits.ndim != 2 or len(ids) != len(logits):
            raise ValueError(
                f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} must both be (B, L), with B ids, "
                f"not {len(ids)}"
            )
        if not len(ids):
            return
        self.logits.append(logits.detach().float().cpu())
        self.labels.append(labels.detach().to("cpu", torch.int8))
        self.keys.append(torch.tensor([_key(each) for each in ids], dtype=torch.int64))

    def compute(self) -> dict[str, Tensor]:
        """The figures by name, float64 scalars, ready for Lightning's ``log_dict``.

        Raises:
            ValueError: no images yet, or two with the same id and different labels.
        """
        if not len(self.logits):
            raise ValueError("no images to score: call update first")
        logits, labels, keys = (dim_zero_cat(state) for state in (self.logits, self.labels, self.keys))
        unique, group = keys.unique(return_inverse=True)
        first = torch.full_like(unique, len(keys)).scatter_reduce(0, group, torch.arange(len(keys)), "amin")
        if not torch.equal(labels, labels[first[group]]):
            raise ValueError("two images with the same id have different labels: ids must be unique in the data set")
        self.collected = logits[first], labels[first]  # in the order of the keys, whoever had them
        scores = evaluate(*self.collected, self.protocol, self.threshold, self.top_k)
        self.scores = scores
        figures = {"mAP": scores.mAP, **asdict(scores.all), **asdict(scores.image), "AUROC": scores.AUROC}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in figures.items()}


def _key(image_id: str | int) -> int:
    """A number of 63 bits for an id, so that ids travel between processes as a tensor."""
    digest = hashlib.blake2b(str(image_id).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _gather(state: Tensor, group: Any = None) -> list[Tensor]:
    """Every process's state, which may differ in size; torchmetrics' own fails where one process has none."""
    parts: list[Tensor] = [state] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(parts, state, group=group)
    return [part for part in parts if part.numel()] or [state]
