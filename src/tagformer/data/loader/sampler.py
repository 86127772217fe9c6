"""The order in which images are visited. It depends only on the seed, the epoch and the process's rank."""

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
    """A 63-bit seed from any values: the same on every machine, and unrelated for different values.

    >>> from tagformer.data.loader.sampler import derive_seed
    >>> derive_seed(0, "order", 1) == derive_seed(0, "order", 1), derive_seed(0, 1) == derive_seed(1, 0)
    (True, False)
    """
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index), in an order that is drawn from the seed and the epoch.

    An incomplete last batch is left out, unless it is the only one.

    Args:
        count: the number of images.
        batch_size: the number of images in a batch of one process.
        seed: seed of the order.
        order: a function from a generator to an epoch's order. None: every image once, in random order.
        share: an epoch ends after this share of the order.
        rank, world_size: for training with several processes, this process's number and their count. Together they
            visit the batches of `batch_size` * `world_size` images that one process would; each takes its share of
            every batch, and all have equally many batches. Training runs in one process today.

    Attributes:
        epoch, start: the epoch of the next pass, and the batch at which it starts; the passes after it start at 0.

    >>> from tagformer.data.loader.sampler import EpochBatches
    >>> batches = EpochBatches(count=5, batch_size=2, seed=0)
    >>> [len(batch) for batch in batches]
    [2, 2]
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        order: Order | None = None,
        share: float = 1.0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.count, self.batch_size, self.seed, self.share = count, batch_size, seed, share
        self.order, self.rank, self.world_size = order, rank, world_size
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(1, int(self.share * self.count) // (self.batch_size * self.world_size))

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
    """An order that visits all labels equally often: each draw takes a label, then one of its images.

    This is class-aware sampling (Shen et al. 2016). All images of a label are visited in random order before one is
    visited again. Images without a present target label are not visited. An epoch has as many draws as the data set has
    images.

    Raises:
        TagformerError: no image has a present target label.
    """

    def __init__(self, dataset: MultiLabelDataset) -> None:
        targets = dataset.label_space.is_target
        pairs = []
        start = 0
        for block in dataset.label_rows.blocks():
            rows, columns = torch.nonzero((block == PRESENT) & targets, as_tuple=True)
            pairs.append(torch.stack([columns, rows + start]))
            start += len(block)
        labels, images = torch.cat(pairs, dim=1) if pairs else torch.empty(2, 0, dtype=torch.long)
        if not len(labels):
            raise TagformerError(f"{dataset.name}: no image has a label, so none can be sampled by its labels.")
        order = labels.argsort(stable=True)
        counts = labels.bincount()
        self.images = [part.numpy() for part in images[order].split(counts.tolist()) if len(part)]
        self.count = len(dataset)

    def __call__(self, generator: torch.Generator) -> list[int]:
        """An epoch's order: as many indices as there are images, some of them repeated."""
        random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        labels = np.concatenate(
            [random.permutation(len(self.images)) for _ in range(self.count // len(self.images) + 1)]
        )[: self.count]
        order = np.empty(self.count, dtype=np.int64)
        for label, draws in enumerate(np.bincount(labels, minlength=len(self.images))):
            images = self.images[label]
            rounds = [random.permutation(images) for _ in range(draws // len(images) + 1)]
            order[labels == label] = np.concatenate(rounds)[:draws]
        return order.tolist()


def rows_in_order(count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> list[range]:
    """Batches of indices that visit every image exactly once, in order.

    Args:
        count: the number of images.
        rank, world_size: for evaluation with several processes, this process's number and their count. Together they
            visit every image exactly once, while PyTorch's DistributedSampler repeats some images so that all
            processes have equally many.

    >>> from tagformer.data.loader.sampler import rows_in_order
    >>> [list(batch) for batch in rows_in_order(5, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """
    rows = range(rank, count, world_size)
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
