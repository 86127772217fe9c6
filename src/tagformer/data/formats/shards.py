"""Shards: WebDataset's tars, with an image KEY.jpg (or another type) and its annotation KEY.json for each sample.

The object in KEY.json is that of a line of JSON lines; see `jsonl`. An id is its ``id`` or, without one, the tar's name
and the key: ``train-000000/000017``. Members of other types are skipped. Images are read from the tar at their offset,
so a tar of any size is read through only once, when its data set is loaded.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from tagformer.data.columns import Column, Rows, Strings
from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.annotation import checked_id, parse, read_annotation, write_annotation
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.options import TAG_OPTIONS, TagOptions
from tagformer.data.formats._common.sidecar import SIDECAR, Sidecar
from tagformer.data.formats._common.split_files import list_folder
from tagformer.data.formats._common.table import Row, Table
from tagformer.data.formats._common.writer import Item, Part, Staged, Writer, move
from tagformer.data.splits import split_of_name
from tagformer.errors import TagformerError
from tagformer.files import check_regular
from tagformer.images.file_types import EXTENSIONS
from tagformer.images.source import Stored

MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")  # WebDataset's rule: a key ends at the first dot of its name


# Writing


class ShardWriter(Writer):
    """Writes SPLIT-000000.tar and so on; a key is the image's number in its split, from 0."""

    stores_images: ClassVar[bool] = True

    @classmethod
    def files(cls, split: str) -> tuple[str, ...]:
        return (f"{split}-??????.tar",)

    def open(self, file: Path, split: str) -> Part:
        return _TarPart(file, self.job.label_space.names, self.part_bytes)

    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        move(parts, [self.job.target / f"{split}-{number:06d}.tar" for number in range(len(parts))])


class _TarPart(Part):
    def __init__(self, file: Path, names: Sequence[str], part_bytes: int) -> None:
        self._names, self._limit = names, part_bytes
        self._tar = tarfile.open(file, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    @property
    def full(self) -> bool:
        return self._tar.offset >= self._limit

    def add(self, item: Item) -> None:
        annotation = {"id": item.id, **write_annotation(item.record.labels, self._names)}
        self._add(f"{item.row:09d}{item.image.extension}", item.image.data or b"")
        self._add(f"{item.row:09d}.json", json.dumps(annotation, ensure_ascii=False).encode())

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))
        self._tar.members.clear()  # type: ignore[attr-defined]  # a TarFile would keep all of them in memory

    def close(self) -> None:
        self._tar.close()


# Reading


class ShardFormat(Format):
    """A tar, or a folder of them; see the module's text.

    With labels.json only the tars of the split are read through; without it all are, to find the labels.
    """

    layout = (
        "{train,val,test}-*.tar or {train,val,test}/*.tar, or *.tar without splits, of KEY.jpg and KEY.json; perhaps "
        "labels.json beside them"
    )
    options: ClassVar[Mapping[str, str]] = TAG_OPTIONS
    writer = ShardWriter

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """The splits in the names of the tars or of their folders; () where there are none.

        Raises:
            TagformerError: no tars, or some with a split and some without.
        """
        present = {split for _, split in self._tars(path)}
        return tuple(split for split in SPLITS if split in present)

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: no tars, a file that is truncated or not a tar, an image without its .json or the other way
                round, a malformed .json; the message names the tar and the member.
        """
        root = path if path.is_dir() else path.parent
        tags = TagOptions.parse(options)
        table, index = Table("sample", sidecar=root / SIDECAR, options=tags), _Index()
        fixes_labels = Sidecar.read(root / SIDECAR) is not None
        for tar, tar_split in self._tars(path):
            if split in (tar_split, "all") or not fixes_labels:
                table.read(tar, index.read(tar, tar_split, root, tags.separator))
        return table.build(str(path), root, split, images=index.images())

    def _tars(self, path: Path) -> list[tuple[Path, str]]:
        """The tars and the split of each; "" where neither name nor folder is a split."""
        if not path.is_dir():
            return [(path, _split_of(path))]
        files, folders = list_folder(path)
        tars = [path / name for name in files if name.endswith(".tar")]
        for name in folders:
            if split_of_name(name):
                tars += [path / name / file for file in list_folder(path / name)[0] if file.endswith(".tar")]
        splits = [split_of_name(tar.parent.name) if tar.parent != path else _split_of(tar) for tar in tars]
        in_splits = [(tar, name) for split in SPLITS for tar, name in zip(tars, splits, strict=True) if name == split]
        without_split = [tar for tar, split in zip(tars, splits, strict=True) if not split]
        if in_splits and without_split:
            raise TagformerError(
                f"{without_split[0]} belongs to no split, but {in_splits[0][0]} does: rename it to train-, val- or "
                "test-*.tar."
            )
        if not in_splits and not without_split:
            raise TagformerError(f"{path} has no tars: expected {self.layout}.")
        return in_splits or [(tar, "") for tar in without_split]


def _split_of(tar: Path) -> str:
    """The split that the name of a tar begins with, as in ``train-000000.tar``; "" where it names none."""
    return split_of_name(re.split("[-_]", tar.stem)[0]) or ""


@dataclass(frozen=True)
class Member:
    """An encoded image at its offset in a tar."""

    tar: Path
    name: str
    offset: int
    length: int

    def read(self) -> bytes:
        """
        Raises:
            OSError: the tar cannot be read, or ends within the image.
        """
        with self.tar.open("rb") as stream:
            stream.seek(self.offset)
            data = stream.read(self.length)
        if len(data) < self.length:
            raise OSError("the tar ends within it")
        return data

    def __str__(self) -> str:
        return f"{self.tar}, {self.name}"


class Members(Column[Stored]):
    """Encoded images in several tars: the position of each one's tar, its name, offset and length."""

    def __init__(self, tars: Sequence[Path], which: Rows, names: Strings, offsets: Rows, lengths: Rows) -> None:
        self._tars, self._names = tuple(tars), names
        self._which = np.asarray(which, dtype=np.int32)
        self._offsets, self._lengths = np.asarray(offsets, dtype=np.int64), np.asarray(lengths, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._names)

    def _item(self, row: int) -> Stored:
        tar = self._tars[self._which[row]]
        return Member(tar, self._names[row], int(self._offsets[row]), int(self._lengths[row]))

    def take(self, rows: Rows) -> Members:
        rows = np.asarray(rows, dtype=np.int64)
        parts = self._which[rows], self._names.take(rows), self._offsets[rows], self._lengths[rows]
        return Members(self._tars, *parts)


class _Index:
    """The places of the images of all tars read so far."""

    def __init__(self) -> None:
        self._tars: list[Path] = []
        self._names = Strings()
        self._which, self._offsets, self._lengths = array("i"), array("q"), array("q")

    def images(self) -> Members:
        """The images, in the order of the rows."""
        return Members(self._tars, self._which, self._names, self._offsets, self._lengths)

    def read(self, tar: Path, split: str, root: Path, separator: str | None = None) -> Iterator[Row]:
        """The rows of one tar, in the order of the first member of each key."""
        prefix = tar.relative_to(root).with_suffix("").as_posix()
        self._tars.append(tar)
        for number, (key, sample) in enumerate(_read_samples(tar).items(), start=1):
            if sample.image is None or sample.annotation is None:
                name, missing = (sample.annotation or ("",))[0], "image"
                if sample.image is not None:
                    name, missing = sample.image[0], f"{key}.json"
                raise TagformerError(f"{tar}: member {name} has no {missing} beside it: a sample needs both.")
            name, offset, length = sample.image
            self._names.append(name)
            self._which.append(len(self._tars) - 1)
            self._offsets.append(offset)
            self._lengths.append(length)
            origin = f"{tar}, {sample.annotation[0]}"
            entry = parse(sample.annotation[1], origin)
            cells, rest, tagged = read_annotation(entry, origin, separator)
            image_id = checked_id(entry.get("id"), origin) or f"{prefix}/{key}"
            yield Row("", cells, rest, tagged, split, number, image_id)


@dataclass
class _Sample:
    """The members of one key of a tar."""

    image: tuple[str, int, int] | None = None  # name, offset and length
    annotation: tuple[str, bytes] | None = None  # name and content of the .json


def _read_samples(file: Path) -> dict[str, _Sample]:
    """Key -> sample, from the headers of a tar and its .json members."""
    samples: dict[str, _Sample] = {}
    last = "its start"
    try:
        check_regular(file)
        with file.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # a TarFile would keep all of them in memory
                last = f"member {member.name}"
                match = MEMBER.fullmatch(member.name)
                if match is None or not member.isreg():
                    continue
                key, extension = match[1], match[2].lower()
                if extension == "json":
                    stream.seek(member.offset_data)
                    _add_annotation(samples.setdefault(key, _Sample()), member, stream.read(member.size), file)
                elif f".{extension}" in EXTENSIONS:
                    _add_image(samples.setdefault(key, _Sample()), member, file)
            stream.seek(tar.offset)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end of archive")
    except (tarfile.TarError, OSError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise TagformerError(
            f"{file} is truncated or not a tar: reading failed after {last} ({reason}); fetch it again."
        ) from error
    return samples


def _add_annotation(sample: _Sample, member: tarfile.TarInfo, content: bytes, file: Path) -> None:
    if sample.annotation is not None:
        raise TagformerError(f"{file}: duplicate member {member.name}: write each key once.")
    sample.annotation = member.name, content


def _add_image(sample: _Sample, member: tarfile.TarInfo, file: Path) -> None:
    if sample.image is not None:
        raise TagformerError(
            f"{file}: members {sample.image[0]} and {member.name} are both images of one key: "
            "give each a key of its own."
        )
    sample.image = member.name, member.offset_data, member.size
