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
    """

    digests: tuple[str, ...]
    maps: tuple[Tensor, ...]


def write_segment(folder: Path, digests: Sequence[str], maps: Sequence[Tensor]) -> Path:
    """Write a segment into a bank; it appears there complete or not at all.

    Args:
        folder: of the bank.
        digests: of n images.
        maps: float16 (n, C, h, w).

    Raises:
        CannotWriteError: the disk is full or read-only.
    """
    name = hashlib.blake2b("/".join(digests).encode(), digest_size=12).hexdigest()
    path = folder / f"{name}{SUFFIX}"
    arrays = {f"map{number}": array.contiguous() for number, array in enumerate(maps)}
    about = {"digests": json.dumps(list(digests)), "checksum": str(_checksum(digests, tuple(arrays.values())))}
    with atomic_write(path) as temporary:
        save_file(arrays, temporary, metadata=about)
    return path


def read_segment(path: Path, shapes: Sequence[Shape]) -> Segment:
    """Map a segment into memory after its size, its header and its content were checked.

    Args:
        path: of `write_segment`.
        shapes: (C, h, w) of each map that is expected.

    Raises:
        DamagedSegmentError: the file is cut off or changed, or has maps of other shapes.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as content:
            about = content.metadata() or {}
            maps = tuple(content.get_tensor(f"map{number}") for number in range(len(shapes)))
        digests = tuple(map(str, json.loads(about["digests"])))
        expected = int(about["checksum"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise DamagedSegmentError(str(error).split("\n")[0] or type(error).__name__) from error
    if any(
        array.dtype != torch.float16 or tuple(array.shape) != (len(digests), *shape)
        for array, shape in zip(maps, shapes, strict=True)
    ):
        raise DamagedSegmentError("its maps have other shapes")
    if _checksum(digests, maps) != expected:
        raise DamagedSegmentError("its checksum is wrong")
    return Segment(digests, maps)


def _checksum(digests: Sequence[str], maps: Sequence[Tensor]) -> int:
    """CRC-32, which runs at gigabytes per second: against accidents, not against attacks."""
    value = zlib.crc32("/".join(digests).encode())
    for array in maps:
        value = zlib.crc32(array.numpy().data, value)
    return value
