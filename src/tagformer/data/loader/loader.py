"""Batches of images, whose order and augmentation depend only on the seed, the epoch and the image.

No random state is carried from one batch to the next, so a run that was interrupted continues with exactly the batches
that it would have had.
"""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_bool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.sharedctypes import RawValue
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.sampler import EpochBatches, derive_seed, rows_in_order
from tagformer.data.loader.shared_memory import Slot, Slots
from tagformer.errors import BadImageError
from tagformer.images.reading import open_picture
from tagformer.images.transforms import ImageTransform


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator within the block, and restore its state afterwards.

    `torch.random.fork_rng` with `torch.manual_seed` does the same at 60 times the cost, because it also seeds devices.
    """
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


@dataclass(frozen=True)
class Batch:
    """A batch of B images.

    Attributes:
        images: uint8 (B, 3, H, W).
        labels: int8 (B, L).
        ids: B ids.
        indices: B positions in the data set.
        bad: one sentence for each image that could not be read; such images are not among the B.

    >>> from tagformer.data import load_dataset
    >>> from tagformer.data.loader import evaluation_loader
    >>> from tagformer.images import evaluation_transform
    >>> dataset = load_dataset("scenes?images=24", "test")
    >>> batch = next(iter(evaluation_loader(dataset, evaluation_transform(32), batch_size=3, workers=0)))
    >>> len(batch), batch.images.shape, batch.images.dtype, batch.bad
    (3, torch.Size([3, 3, 32, 32]), torch.uint8, [])
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


@dataclass(frozen=True)
class SharedBatch:
    """A batch from a loader process, whose images are in shared memory at `slot`."""

    batch: Batch
    slot: Slot


class ImageItems(Dataset[Any]):
    """Read and transform the images of a data set. The key of an item is its index, or (epoch, index).

    Args:
        dataset: the images.
        transform: None: no image is read, and none needs to exist; each item is one black pixel.
        seed: seed of the random augmentation.

    >>> from tagformer.data import load_dataset
    >>> from tagformer.data.loader import ImageItems
    >>> from tagformer.images import evaluation_transform
    >>> index, image = ImageItems(load_dataset("scenes?images=6"), evaluation_transform(32))[2]
    >>> index, image.shape, image.dtype
    (2, torch.Size([3, 32, 32]), torch.uint8)
    """

    def __init__(self, dataset: MultiLabelDataset, transform: ImageTransform | None, seed: int = 0) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.slots: Slots | None = None  # set by a loader that has processes

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[int, Tensor | str]:
        """(index, uint8 image), or (index, a sentence on why it cannot be read)."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if self.transform is None:
            return index, torch.zeros(3, 1, 1, dtype=torch.uint8)
        with seeded(derive_seed(self.seed, epoch, self.dataset.ids[index])):
            try:
                return index, self.transform(open_picture(self.dataset.images[index]))
            except BadImageError as error:
                return index, str(error)

    def collate(self, items: list[tuple[int, Tensor | str]]) -> Batch | SharedBatch:
        """Make a batch of items; bad images are left out of it and named."""
        good = [(index, image) for index, image in items if isinstance(image, Tensor)]
        indices, images = [index for index, _ in good], [image for _, image in good]
        stacked = torch.stack(images) if images and self.slots is None else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        batch = Batch(
            images=stacked,
            labels=self.dataset.label_rows[indices],
            ids=[self.dataset.ids[index] for index in indices],
            indices=indices,
            bad=[problem for _, problem in items if isinstance(problem, str)],
        )
        return batch if self.slots is None else SharedBatch(batch, self.slots.put(images))


class ImageLoader(DataLoader[Any]):
    """Batches of images in a given order, loaded ahead by other processes.

    Args:
        items: the images.
        batches: yields the keys of each batch's items.
        batch_size: the largest number of keys in a batch.
        workers: number of loader processes; 0 loads in the main process.
        pin_memory: put the batches in pinned memory, from which a GPU copies faster.
        persistent: keep the processes from one pass to the next.

    >>> from tagformer.data import load_dataset
    >>> from tagformer.data.loader import ImageItems, ImageLoader
    >>> from tagformer.images import evaluation_transform
    >>> items = ImageItems(load_dataset("scenes?images=24", "test"), evaluation_transform(32))
    >>> [batch.indices for batch in ImageLoader(items, [[2, 0], [1]], batch_size=2, workers=0)]
    [[2, 0], [1]]
    """

    def __init__(
        self,
        items: ImageItems,
        batches: Sampler[Any] | Sequence[Any],
        batch_size: int,
        workers: int,
        pin_memory: bool = False,
        persistent: bool = False,
    ) -> None:
        super().__init__(
            items,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=items.collate,
            worker_init_fn=partial(ignore_stop_signals, _closing),
            persistent_workers=persistent and workers > 0,
        )
        self.items = items
        size = items.transform.size if items.transform else 1
        self._slots_arguments = (workers, self.prefetch_factor or 0, batch_size, size)
        self._pinned = pin_memory

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        slots = self.items.slots
        if self.num_workers and (self._iterator is None or not self.persistent_workers):
            slots = self.items.slots = Slots(*self._slots_arguments)
        for batch in super().__iter__():
            if isinstance(batch, SharedBatch):
                assert slots is not None
                yield replace(batch.batch, images=slots.take(batch.slot, self._pinned))
            else:
                yield batch


class TrainingLoader(ImageLoader):
    """A loader that can start at any batch, with the methods by which Lightning stores its state in checkpoints.

    Attributes:
        position: (epoch, number of its batches that are done). The training loop sets it, and checkpoints store it.

    >>> from tagformer.data import load_dataset
    >>> from tagformer.data.loader import ImageItems, TrainingLoader
    >>> from tagformer.data.loader.sampler import EpochBatches
    >>> items = ImageItems(load_dataset("scenes?images=6"), transform=None)
    >>> loader = TrainingLoader(items, EpochBatches(count=6, batch_size=2, seed=0), workers=0)
    >>> loader.load_state_dict({"epoch": 3, "batches": 1})
    >>> len(list(loader))  # one of three batches is done already
    2
    """

    def __init__(self, items: ImageItems, batches: EpochBatches, workers: int, pin_memory: bool = False) -> None:
        super().__init__(items, batches, batches.batch_size, workers, pin_memory, persistent=True)
        self.batches = batches
        self.position = (0, 0)

    def state_dict(self) -> dict[str, int]:
        """The epoch and the batch of it to continue with."""
        epoch, done = self.position
        if done >= len(self.batches):
            epoch, done = epoch + 1, 0
        return {"epoch": epoch, "batches": done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where `state_dict` was called."""
        self.batches.epoch, self.batches.start = state["epoch"], state["batches"]
        self.position = (state["epoch"], state["batches"])


def evaluation_loader(
    dataset: MultiLabelDataset,
    transform: ImageTransform | None,
    batch_size: int,
    workers: int,
    pin_memory: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> ImageLoader:
    """A loader of all images once, in order. For the arguments see `ImageLoader`.

    Args:
        rank, world_size: where several processes evaluate together, this process's number and their count. Each image
            is loaded in exactly one of them. Evaluation runs in one process today.

    >>> from tagformer.data import load_dataset
    >>> from tagformer.data.loader import evaluation_loader
    >>> from tagformer.images import evaluation_transform
    >>> loader = evaluation_loader(load_dataset("scenes?images=6"), evaluation_transform(32), batch_size=4, workers=0)
    >>> [batch.images.shape for batch in loader]
    [torch.Size([4, 3, 32, 32]), torch.Size([2, 3, 32, 32])]
    """
    batches = rows_in_order(len(dataset), batch_size, rank, world_size)
    return ImageLoader(ImageItems(dataset, transform), batches, batch_size, workers, pin_memory)


def raise_on_bad_images(problems: Sequence[str], on_bad_image: str) -> int:
    """The number of bad images, or an error that names the first of them.

    Args:
        problems: one sentence for each bad image.
        on_bad_image: ``"error"`` or ``"skip"``.

    Raises:
        BadImageError: there is a bad image, and `on_bad_image` is ``"error"``.
    """
    if problems and on_bad_image == "error":
        raise BadImageError(f"{problems[0].rstrip('.')}; fix it, or leave out bad images with --on-bad-image skip.")
    return len(problems)


_closing = RawValue(c_bool, False)  # shared with the loader processes: the main process ends


@atexit.register
def _close() -> None:
    _closing.value = True  # before multiprocessing, at its exit, ends the loader processes that are left by SIGTERM


def ignore_stop_signals(closing: Any, worker: int) -> None:
    """Ignore Ctrl-C and SIGTERM in a loader process; the main process handles them and writes a checkpoint first.

    A terminal or a cluster sends them to all processes at once.

    Args:
        closing: its value is true once the main process ends; then SIGTERM ends the loader process.
        worker: its number.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if closing.value:
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
