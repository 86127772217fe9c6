"""What the writers share.

A split is written in parts, runs of its rows in their order, each of which is a file in a folder of its own until all
are there. Only then they are joined or moved to where the format's reader finds them. A part depends on nothing but
its rows, so one that is there need not be written again.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

import numpy as np

from tagformer.data.dataset import SPLITS, MultiLabelDataset, Record
from tagformer.data.formats._common.table import SIDECAR
from tagformer.errors import TagformerError
from tagformer.images.encoding import Prepared
from tagformer.labels.space import UNKNOWN, LabelSpace

PART_ROWS = 256  # of a text file
Staged = Callable[[Path], AbstractContextManager[Path]]  # where to write a file that then goes to the path


class Item(NamedTuple):
    """An image to be written: its row in its split, its id in the target, its record, and where its pixels are."""

    row: int
    id: str
    record: Record
    image: Prepared


class Job:
    """The data sets to write, and where.

    Args:
        datasets: split -> data set: some of train, val and test, or ``all`` alone for data without splits.
        target: the folder.

    Raises:
        ValueError: other splits, or splits with different labels.
    """

    def __init__(self, datasets: Mapping[str, MultiLabelDataset], target: Path) -> None:
        if set(datasets) != {"all"} and not (datasets and set(datasets) <= set(SPLITS)):
            raise ValueError(f"the splits are {', '.join(datasets)}: give train, val and test, or all")
        self.datasets, self.target = datasets, Path(os.path.abspath(target))
        own = list(datasets.values())
        self.label_space: LabelSpace = own[0].label_space
        if any(dataset.label_space != self.label_space for dataset in own):
            raise ValueError("the splits have different labels")
        hashes = np.concatenate([np.fromiter(map(hash, dataset.ids), np.int64, len(dataset)) for dataset in own])
        self.shared_ids = len(np.unique(hashes)) < len(hashes)

    @cached_property
    def exhaustive(self) -> bool:
        """Whether labels that the data never mention are absent; see `MultiLabelDataset`."""
        return all(dataset.exhaustive for dataset in self.datasets.values())

    @cached_property
    def tagged(self) -> bool:
        """Whether lists of tags say everything: of each image all labels are known, or none."""
        for dataset in self.datasets.values():
            unknown = dataset.label_rows.count_by_row(UNKNOWN)
            if ((unknown > 0) & (unknown < len(self.label_space))).any():
                return False
        return True


def checked_text(value: str, what: str) -> str:
    """`value` itself.

    Raises:
        TagformerError: it cannot be written as UTF-8.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TagformerError(f"the {what} {value!r} is not UTF-8: rename it.") from error
    return value


class Part(ABC):
    """One part of a split, open for writing."""

    @property
    @abstractmethod
    def full(self) -> bool:
        """Whether the part ends here."""

    @abstractmethod
    def add(self, item: Item) -> None:
        """Write an image."""

    @abstractmethod
    def close(self) -> None:
        """End the file."""


class TextPart(Part):
    """A text of as many lines as images (or of one entry each that a line break ends)."""

    def __init__(self, file: Path, line: Callable[[Item], str]) -> None:
        self._stream = file.open("w", newline="", encoding="utf-8")
        self._line, self._rows = line, 0

    @property
    def full(self) -> bool:
        return self._rows >= PART_ROWS

    def add(self, item: Item) -> None:
        self._stream.write(self._line(item))
        self._rows += 1

    def close(self) -> None:
        self._stream.close()


class Writer(ABC):
    """Writes one format.

    Args:
        job: what to write.
        part_bytes: a part of encoded images ends as soon as it is as large as this.

    Attributes:
        stores: the images' bytes are in the format's own files; otherwise these name image files.
        prefixed: where two splits share an id, every id is preceded by its split: ``train/10``.
    """

    stores: ClassVar[bool] = False
    prefixed: ClassVar[bool] = True

    def __init__(self, job: Job, part_bytes: int) -> None:
        self.job, self.part_bytes = job, part_bytes

    def id_of(self, split: str, image_id: str) -> str:
        """An image's id in the target."""
        return f"{split}/{image_id}" if self.prefixed and self.job.shared_ids else image_id

    def folder(self, split: str) -> Path:
        """Where the split's images go, where they are to be written as files."""
        return self.job.target / "images"

    def check_names(self) -> None:
        """
        Raises:
            TagformerError: the format cannot hold one of the labels' names.
        """
        for name in (*self.job.label_space.names, *self.job.label_space.groups):
            checked_text(name, "label")

    def check_id(self, image_id: str) -> None:
        """
        Raises:
            TagformerError: the format cannot hold the id.
        """
        checked_text(image_id, "id")

    @abstractmethod
    def open(self, file: Path, split: str) -> Part:
        """Begin a part in `file`."""

    @abstractmethod
    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        """Make the split's files of its parts, in the order of the rows; called again where it was broken off.

        Args:
            parts: those with images.
            staged: gives the path to write a file to that is to lie at its argument.
        """

    def sidecar(self) -> tuple[str, Any] | None:
        """Name and JSON content of what stands beside the splits; None where nothing does."""
        return SIDECAR, {**self.job.label_space.to_dict(), "exhaustive": self.job.exhaustive}

    def path(self, image: Prepared, split: str) -> str:
        """What to write for the image's path: relative to the target's folder where it lies in it."""
        path = os.path.abspath(image.path or "")
        if path.startswith(str(self.job.target) + os.sep):
            path = Path(os.path.relpath(path, self.root(split))).as_posix()
        return checked_text(path, "name of image")

    def root(self, split: str) -> Path:
        """What the reader takes paths relative to."""
        return self.job.target


def append(parts: Sequence[Path], stream: IO[bytes]) -> None:
    """Copy each part to the end of an open file."""
    for part in parts:
        with part.open("rb") as source:
            shutil.copyfileobj(source, stream)


def move(parts: Sequence[Path], places: Sequence[Path]) -> None:
    """Rename each part to its place, unless that was done before."""
    for part, place in zip(parts, places, strict=True):
        if part.exists():
            part.replace(place)
