"""In which order images are visited. Everything follows from the seed, the epoch and the process's rank."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.labels.space import PRESENT

Order = Callable[[torch.Generator], list[int]]


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from any values: the same on every machine, unrelated for different values."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) in an order drawn from the seed and the epoch; starts at any batch of any epoch.

    An incomplete last batch is left out, unless it is the only one. Of several processes each has its own share of
    every batch's images, and all have equally many batches.

    Args:
        count: images.
        batch_size: of one process.
        order: gives an epoch's order from a generator; None: every image once.
        rank, world_size: this process's number, and how many there are.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        order: Order | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.order, self.rank, self.world_size = order, rank, world_size
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return max(1, self.count // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        if self.order is None:
            order = torch.randperm(self.count, generator=generator).tolist()
        else:
            order = self.order(generator)
        start, self.start = self.start, 0
        step = self.batch_size * self.world_size
        for number in range(start, len(self)):
            rows = order[number * step : (number + 1) * step][self.rank :: self.world_size]
            yield [(self.epoch, index) for index in rows]


class ClassAware:
    """Visit labels equally often: each draw takes a label, then one of its images (Shen et al. 2016).

    Every label's images are gone through in a random order before one of them comes again. Images without a positive
    target label are not visited. An epoch has as many draws as the data set has images.

    Raises:
        TagformerError: no image has a label.
    """

    def __init__(self, dataset: MultiLabelDataset) -> None:
        targets = dataset.label_space.is_target
        columns = []
        for start, block in zip(range(0, len(dataset), 8192), dataset.label_rows.blocks(), strict=True):
            rows, found = torch.nonzero((block == PRESENT) & targets, as_tuple=True)
            columns.append(torch.stack([found, rows + start]))
        labels, images = torch.cat(columns, dim=1) if columns else torch.empty(2, 0, dtype=torch.long)
        if not len(labels):
            raise TagformerError(f"{dataset.name}: no image has a label, so none can be sampled by its labels.")
        order = labels.argsort(stable=True)
        counts = labels.bincount()
        self.images = [part.numpy() for part in images[order].split(counts.tolist()) if len(part)]
        self.count = len(dataset)

    def __call__(self, generator: torch.Generator) -> list[int]:
        """An epoch's order: `count` indices, with repetitions."""
        random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        labels = np.concatenate(
            [random.permutation(len(self.images)) for _ in range(self.count // len(self.images) + 1)]
        )[: self.count]
        order = np.empty(self.count, dtype=np.int64)
        for label, draws in enumerate(np.bincount(labels, minlength=len(self.images))):
            own = self.images[label]
            rounds = [random.permutation(own) for _ in range(draws // len(own) + 1)]
            order[labels == label] = np.concatenate(rounds)[:draws]
        return order.tolist()


def rows_in_order(count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> list[range]:
    """Batches of indices that visit every image once, over all processes together; none is visited twice.

    PyTorch's own distributed sampler repeats images so that all processes have equally many.
    """
    rows = range(rank, count, world_size)
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
