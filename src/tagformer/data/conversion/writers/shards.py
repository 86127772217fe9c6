"""Shards: SPLIT-000000.tar and so on, for WebDataset too; in each KEY.jpg (or another image) beside KEY.json."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tagformer.data.conversion.writers.base import Item, Part, Staged, Writer, move
from tagformer.data.formats._common.annotation import write_annotation


class ShardWriter(Writer):
    """See the module's text; a key is the image's number in its split, from 0."""

    stores: ClassVar[bool] = True

    def open(self, file: Path, split: str) -> Part:
        return _Part(file, self.job.label_space.names, self.part_bytes)

    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        move(parts, [self.job.target / f"{split}-{number:06d}.tar" for number in range(len(parts))])


class _Part(Part):
    def __init__(self, file: Path, names: Sequence[str], part_bytes: int) -> None:
        self._names, self._limit = names, part_bytes
        self._tar = tarfile.open(file, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    @property
    def full(self) -> bool:
        return self._tar.offset >= self._limit

    def add(self, item: Item) -> None:
        said = {"id": item.id, **write_annotation(item.record.labels, self._names)}
        self._add(f"{item.row:09d}{item.image.extension}", item.image.data or b"")
        self._add(f"{item.row:09d}.json", json.dumps(said, ensure_ascii=False).encode())

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))
        self._tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them

    def close(self) -> None:
        self._tar.close()
