"""Segments: files with the feature maps of some images, written once and never changed."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tagformer.files import atomic_write, check_regular

SUFFIX = ".safetensors"
Shape = tuple[int, int, int]


class DamagedSegmentError(ValueError):
    """A segment is not what was written. The message says why."""


@dataclass(frozen=True)
class Segment:
    """The feature maps of n images, which stay on the disk until they are read.

    Attributes:
        digests: the content digest of each image.
        maps: float16 (n, C, h, w) for each feature map from fine to coarse, mapped into memory.
        checksum: of the maps, when they were written.
    """

    digests: tuple[str, ...]
    maps: tuple[Tensor, ...]
    checksum: int

    def check(self) -> None:
        """Read the maps, and compare them with what was written.

        Raises:
            DamagedSegmentError: they were changed.
        """
        if _checksum(self.maps) != self.checksum:
            raise DamagedSegmentError("its checksum is wrong")


def write_segment(folder: Path, digests: Sequence[str], maps: Sequence[Tensor]) -> Path:
    """Write a segment into a bank; it appears there complete or not at all.

    Args:
        folder: of the bank.
        digests: of n images.
        maps: float16 (n, C, h, w).

    Raises:
        CannotWriteError: the disk is full or read-only.
    """
    names = json.dumps(list(digests))
    path = folder / f"{hashlib.blake2b(names.encode(), digest_size=12).hexdigest()}{SUFFIX}"
    arrays = {f"map{number}": array.contiguous() for number, array in enumerate(maps)}
    about = {
        "digests": names,
        "digests_checksum": str(zlib.crc32(names.encode())),
        "maps_checksum": str(_checksum(tuple(arrays.values()))),
    }
    with atomic_write(path) as temporary:
        save_file(arrays, temporary, metadata=about)
    return path


def read_segment(path: Path, shapes: Sequence[Shape]) -> Segment:
    """Map a segment into memory; its size and its header are checked, its maps by `Segment.check`.

    Args:
        path: of `write_segment`.
        shapes: (C, h, w) of each map that is expected.

    Raises:
        DamagedSegmentError: the file is cut off or its header changed, or it has maps of other shapes.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as content:
            about = content.metadata() or {}
            maps = tuple(content.get_tensor(f"map{number}") for number in range(len(shapes)))
        names = about["digests"]
        intact = zlib.crc32(names.encode()) == int(about["digests_checksum"])
        segment = Segment(tuple(map(str, json.loads(names))), maps, int(about["maps_checksum"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise DamagedSegmentError(str(error).split("\n")[0] or type(error).__name__) from error
    count = len(segment.digests)
    fits = all(
        array.dtype == torch.float16 and tuple(array.shape) == (count, *shape)
        for array, shape in zip(maps, shapes, strict=True)
    )
    if not intact or not fits:
        raise DamagedSegmentError("its header is not the one that was written")
    return segment


def _checksum(maps: Sequence[Tensor]) -> int:
    """CRC-32, which runs at gigabytes per second: against accidents, not against attacks."""
    value = 0
    for array in maps:
        value = zlib.crc32(array.numpy().data, value)
    return value
