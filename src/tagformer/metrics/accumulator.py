"""A torchmetrics metric around `evaluate`, with the same figures on one process and on several."""

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
    """Collect float32 logits on the CPU over many batches, and score them together.

    Each image counts once, even where it was passed twice: a distributed sampler repeats some images so that all
    processes have equally many. Images are identified by their ids. Processes may hold different numbers of images.

    Args:
        protocol, threshold, top_k: see `evaluate`.
        options: see `torchmetrics.Metric`.

    Attributes:
        scores: all figures of the last `compute`, including those per label.
        collected: logits (N, L) and labels (N, L) of the last `compute`.

    >>> import torch
    >>> from tagformer.metrics import MultiLabelScores
    >>> metric = MultiLabelScores()
    >>> logits, labels = torch.tensor([[2.0, -1.0], [-3.0, 1.0]]), torch.tensor([[1, 0], [0, 1]], dtype=torch.int8)
    >>> metric.update(logits, labels, ["a.jpg", "b.jpg"])
    >>> metric.update(logits[:1], labels[:1], ["a.jpg"])  # the same image again does not count
    >>> metric.compute()["mAP"].item(), metric.scores.images
    (1.0, 2)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    logits: list[Tensor]  # torchmetrics makes it one tensor while it synchronises processes
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
            ValueError: the sizes differ.
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
        self.keys.append(torch.tensor([_key(image_id) for image_id in ids], dtype=torch.int64))

    def compute(self) -> dict[str, Tensor]:
        """The figures by name, float64 scalars, ready for Lightning's ``log_dict``.

        Raises:
            ValueError: there are no images, or two with the same id but different labels.
        """
        if not len(self.logits):
            raise ValueError("no images to score: call update first")
        logits, labels, keys = (dim_zero_cat(state) for state in (self.logits, self.labels, self.keys))
        unique, group = keys.unique(return_inverse=True)
        first = torch.full_like(unique, len(keys)).scatter_reduce(0, group, torch.arange(len(keys)), "amin")
        if not torch.equal(labels, labels[first[group]]):
            raise ValueError("two images with the same id have different labels: ids must be unique in the data set")
        self.collected = logits[first], labels[first]  # ordered by key, so independent of the processes
        scores = evaluate(*self.collected, self.protocol, self.threshold, self.top_k)
        self.scores = scores
        figures = {"mAP": scores.mAP, **asdict(scores.all), **asdict(scores.image), "AUROC": scores.AUROC}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in figures.items()}


def _key(image_id: str | int) -> int:
    """A 63-bit hash of an image id; as tensors, ids can be exchanged between processes."""
    digest = hashlib.blake2b(str(image_id).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _gather(state: Tensor, group: Any = None) -> list[Tensor]:
    """The states of all processes, which may differ in size; torchmetrics' own function fails if one is empty."""
    states: list[Tensor] = [state] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(states, state, group=group)
    return [gathered for gathered in states if gathered.numel()] or [state]
