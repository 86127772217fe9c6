"""How loader processes hand their images to the main process.

PyTorch makes new shared memory for every batch, and mapping it page by page costs a CPU more than resizing the images
did. Here each process has a few places in memory that is mapped once, and writes them in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import get_worker_info


@dataclass(frozen=True)
class Slot:
    """Where a batch of `count` images lies."""

    place: int
    count: int


class Slots:
    """Places for batches in shared memory.

    A loader process has at most `prefetch` batches under way and one that is being taken, so `prefetch` + 1 places
    each are enough, written in turn, as long as every batch is taken before the next is asked for.

    Args:
        workers, prefetch: of the loader.
        batch_size, size: of a batch of uint8 images (B, 3, size, size).
    """

    def __init__(self, workers: int, prefetch: int, batch_size: int, size: int) -> None:
        self._each = prefetch + 1
        self._memory = torch.empty(workers * self._each, batch_size, size, size, 3, dtype=torch.uint8).share_memory_()
        self._written = 0

    def put(self, images: Sequence[Tensor]) -> Slot:
        """Write a batch, in a loader process."""
        worker = get_worker_info()
        assert worker is not None
        place = worker.id * self._each + self._written % self._each
        self._written += 1
        for row, image in zip(self._memory[place], images, strict=False):
            row.copy_(image.permute(1, 2, 0))
        return Slot(place, len(images))

    def take(self, slot: Slot, pin_memory: bool = False) -> Tensor:
        """A copy of a batch, uint8 (B, 3, H, W) in the channels-last memory format, in the main process."""
        images = self._memory[slot.place, : slot.count]
        copied = torch.empty(images.shape, dtype=torch.uint8, pin_memory=pin_memory).copy_(images)
        return copied.permute(0, 3, 1, 2)
