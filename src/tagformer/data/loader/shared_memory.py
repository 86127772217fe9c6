"""The shared memory in which loader processes pass their images to the main process.

PyTorch's DataLoader creates new shared memory for every batch, and mapping its pages costs more time than resizing the
images. Here the memory is created once; each process has a few places in it, which it fills in turn. On two cores this
loads 1.2 times as many images per second at 224 pixels, and 1.6 times as many at 448 (benchmarks/data.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import get_worker_info


@dataclass(frozen=True)
class Slot:
    """The place of a batch of `count` images in the shared memory."""

    place: int
    count: int


class Slots:
    """Shared memory with places for batches of uint8 images (B, 3, size, size).

    A loader process has at most `prefetch` batches waiting and one that is being copied, so it needs `prefetch` + 1
    places. This requires that the main process copies a batch before it requests the next one.

    Args:
        workers, prefetch: the loader's number of processes, and of batches that each loads ahead.
        batch_size, size: the largest batch, and the side of its images in pixels.
    """

    def __init__(self, workers: int, prefetch: int, batch_size: int, size: int) -> None:
        self._places_per_worker = prefetch + 1
        places = workers * self._places_per_worker
        self._memory = torch.empty(places, batch_size, size, size, 3, dtype=torch.uint8).share_memory_()
        self._written = 0

    def put(self, images: Sequence[Tensor]) -> Slot:
        """Write a batch; called in a loader process."""
        worker = get_worker_info()
        assert worker is not None
        place = worker.id * self._places_per_worker + self._written % self._places_per_worker
        self._written += 1
        for row, image in zip(self._memory[place], images, strict=False):
            row.copy_(image.permute(1, 2, 0))
        return Slot(place, len(images))

    def take(self, slot: Slot, pin_memory: bool = False) -> Tensor:
        """Copy a batch out of the shared memory; called in the main process.

        Returns:
            uint8 (B, 3, H, W) in the channels-last memory format.
        """
        images = self._memory[slot.place, : slot.count]
        copied = torch.empty(images.shape, dtype=torch.uint8, pin_memory=pin_memory).copy_(images)
        return copied.permute(0, 3, 1, 2)
