"""Batches of images, in an order and with augmentation that depend on nothing but the seed, the epoch and the image.

No random state is carried from one step to the next, so a training run that was stopped anywhere can go on as if it
had not been.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
    """Draw from torch's CPU generator as if it had this seed; it goes on as before afterwards.

    `torch.random.fork_rng` with `torch.manual_seed` does the same at sixty times the cost, for it also seeds devices.
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
class HandedBatch:
    """A batch on its way from a loader process, its images in shared memory."""

    batch: Batch
    slot: Slot


class ImageItems(Dataset[Any]):
    """Reads and transforms the images of a data set. An item is asked for by its index, or by (epoch, index).

    Args:
        transform: None: the images are not looked at, and none need exist; each item is one black pixel.
    """

    def __init__(self, dataset: MultiLabelDataset, transform: ImageTransform | None, seed: int = 0) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.slots: Slots | None = None  # set by a loader that has processes

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[int, Tensor | str]:
        """(index, uint8 image), or (index, what is wrong with it)."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if self.transform is None:
            return index, torch.zeros(3, 1, 1, dtype=torch.uint8)
        with seeded(derive_seed(self.seed, epoch, self.dataset.ids[index])):
            try:
                return index, self.transform(open_picture(self.dataset.images[index]))
            except BadImageError as error:
                return index, str(error)

    def collate(self, items: list[tuple[int, Tensor | str]]) -> Batch | HandedBatch:
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
        return batch if self.slots is None else HandedBatch(batch, self.slots.put(images))


class ImageLoader(DataLoader[Any]):
    """Batches of images, in the order of a sampler of batches; other processes read ahead.

    Args:
        items: what to load.
        batches: yields the keys of each batch's items.
        batch_size: the largest number of keys in a batch.
        workers: loader processes; 0 loads in this one.
        pin_memory: put the batches where a GPU fetches them faster.
        persistent: keep the processes from one pass to the next.
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
            worker_init_fn=ignore_interrupts,
            persistent_workers=persistent and workers > 0,
        )
        self.items = items
        size = items.transform.size if items.transform else 1
        self._places = (workers, self.prefetch_factor or 0, batch_size, size)
        self._pinned = pin_memory

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        slots = self.items.slots
        if self.num_workers and (self._iterator is None or not self.persistent_workers):
            slots = self.items.slots = Slots(*self._places)
        for found in super().__iter__():
            batch = found
            if isinstance(found, HandedBatch):
                assert slots is not None
                batch = replace(found.batch, images=slots.take(found.slot, self._pinned))
            yield batch


class TrainingLoader(ImageLoader):
    """A loader that can be told where to start, in the form that Lightning's checkpoints use.

    Attributes:
        position: (epoch, batches of it that are done), set by whoever trains; a checkpoint carries it.
    """

    def __init__(self, items: ImageItems, batches: EpochBatches, workers: int, pin_memory: bool = False) -> None:
        super().__init__(items, batches, batches.batch_size, workers, pin_memory, persistent=True)
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
    transform: ImageTransform | None,
    batch_size: int,
    workers: int,
    pin_memory: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> ImageLoader:
    """All images once, in order; where several processes evaluate together, each image in one of them."""
    batches = rows_in_order(len(dataset), batch_size, rank, world_size)
    return ImageLoader(ImageItems(dataset, transform), batches, batch_size, workers, pin_memory)


def raise_on_bad_images(problems: Sequence[str], on_bad_image: str) -> int:
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
