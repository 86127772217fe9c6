"""Batches of images, in an order and with augmentation that depend on nothing but the seed, the epoch and the image.

No random state is carried from one step to the next, so a training run that was stopped anywhere can go on as if it
had not been.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tagformer.data.images import open_picture
from tagformer.data.record import MultiLabelDataset
from tagformer.data.transforms import ImageTransform
from tagformer.errors import BadImageError


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from any values: the same on every machine, unrelated for different values."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass(frozen=True)
class Batch:
    """A batch of B images.

    Attributes:
        images: uint8 (B, 3, H, W).
        labels: int8 (B, L).
        ids: B ids.
        indices: B positions in the data set.
        bad: one sentence for each image that could not be read; such images are not among the B.
    """

    images: Tensor
    labels: Tensor
    ids: list[str]
    indices: list[int]
    bad: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, **options: Any) -> Batch:
        """The batch with its tensors on `device`."""
        return replace(self, images=self.images.to(device, **options), labels=self.labels.to(device, **options))

    def pin_memory(self) -> Batch:
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


class ImageItems(Dataset[Any]):
    """Reads and transforms the images of a data set. An item is asked for by its index, or by (epoch, index)."""

    def __init__(self, dataset: MultiLabelDataset, transform: ImageTransform, seed: int = 0) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[int, Tensor | str]:
        """(index, uint8 image), or (index, what is wrong with it)."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, epoch, self.dataset.ids[index]))
            try:
                return index, self.transform(open_picture(self.dataset.images[index]))
            except BadImageError as error:
                return index, str(error)

    def collate(self, items: list[tuple[int, Tensor | str]]) -> Batch:
        good = [(index, image) for index, image in items if isinstance(image, Tensor)]
        indices = [index for index, _ in good]
        return Batch(
            images=torch.stack([image for _, image in good]) if good else torch.empty(0, 3, 1, 1, dtype=torch.uint8),
            labels=self.dataset.label_rows[indices],
            ids=[self.dataset.ids[index] for index in indices],
            indices=indices,
            bad=[problem for _, problem in items if isinstance(problem, str)],
        )


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) in an order drawn from the seed and the epoch; starts at any batch of any epoch.

    An incomplete last batch is left out, unless it is the only one.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return max(1, self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        order = torch.randperm(self.count, generator=generator).tolist()
        start, self.start = self.start, 0
        for number in range(start, len(self)):
            rows = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield [(self.epoch, index) for index in rows]


class TrainingLoader(DataLoader[Any]):
    """A loader that can be told where to start, in the form that Lightning's checkpoints use.

    Attributes:
        position: (epoch, batches of it that are done), set by whoever trains; a checkpoint carries it.
    """

    def __init__(self, items: ImageItems, batches: EpochBatches, workers: int, pin_memory: bool = False) -> None:
        super().__init__(
            items,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=items.collate,
            worker_init_fn=ignore_interrupts,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
        )
        self.items = items
        self.batches = batches
        self.position = (0, 0)

    def state_dict(self) -> dict[str, int]:
        epoch, done = self.position
        if done >= len(self.batches):
            epoch, done = epoch + 1, 0
        return {"epoch": epoch, "batches": done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches.epoch, self.batches.start = state["epoch"], state["batches"]
        self.position = (state["epoch"], state["batches"])


def evaluation_loader(
    dataset: MultiLabelDataset,
    transform: ImageTransform,
    batch_size: int,
    workers: int,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """All images once, in order."""
    items = ImageItems(dataset, transform)
    return DataLoader(
        items,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=items.collate,
        worker_init_fn=ignore_interrupts,
        pin_memory=pin_memory,
    )


def refuse_bad(problems: Sequence[str], on_bad_image: str) -> int:
    """How many bad images there are, or an error that names the first.

    Raises:
        BadImageError: there is one, and `on_bad_image` is ``error``.
    """
    if problems and on_bad_image == "error":
        raise BadImageError(f"{problems[0].rstrip('.')}; mend it, or leave such images out with --on-bad-image skip.")
    return len(problems)


def ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C to the main process, which writes a checkpoint first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
