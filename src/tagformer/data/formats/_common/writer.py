"""What the writers of all formats share.

A split is written in parts: runs of consecutive rows, each in a temporary file. Once all parts of a split are complete
they are joined, or moved to where the format's reader expects them. A part depends on nothing but its rows, so a
complete part never has to be written again.
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
from tagformer.data.formats._common.sidecar import SIDECAR
from tagformer.errors import TagformerError
from tagformer.images.encoding import Prepared
from tagformer.labels.space import UNKNOWN, LabelSpace

PART_ROWS = 256  # of a text file
Staged = Callable[[Path], AbstractContextManager[Path]]  # gives the temporary path of a file that replaces the argument


class Item(NamedTuple):
    """One image to write.

    Attributes:
        row: its row in the split, from 0.
        id: its id in the target.
        record: its labels, and its sizes and boxes where they are known.
        image: its encoded bytes or its file.

    >>> from tagformer.data import load_dataset
    >>> from tagformer.data.formats import Item
    >>> from tagformer.images.encoding import as_it_is
    >>> record = load_dataset("scenes?images=6")[0]
    >>> item = Item(0, record.id, record, as_it_is(record.image, stored=True))
    >>> item.row, item.image.extension
    (0, '.png')
    """

    row: int
    id: str
    record: Record
    image: Prepared


class Job:
    """The data sets to write, and where.

    Args:
        datasets: split -> data set: some of train, val and test, or ``all`` alone for data without splits.
        target: the folder.

    Attributes:
        label_space: the labels of all the splits.
        shared_ids: whether an id appears in more than one split.

    Raises:
        ValueError: other splits, or splits with different labels.

    >>> from tagformer.data import load_dataset
    >>> job = Job({"train": load_dataset("scenes?images=6")}, Path("out"))
    >>> job.shared_ids, job.exhaustive, job.tagged
    (False, True, True)
    """

    def __init__(self, datasets: Mapping[str, MultiLabelDataset], target: Path) -> None:
        if set(datasets) != {"all"} and not (datasets and set(datasets) <= set(SPLITS)):
            raise ValueError(f"the splits are {', '.join(datasets)}: give train, val and test, or all")
        self.datasets, self.target = datasets, Path(os.path.abspath(target))
        parts = list(datasets.values())
        self.label_space: LabelSpace = parts[0].label_space
        if any(dataset.label_space != self.label_space for dataset in parts):
            raise ValueError("the splits have different labels")
        hashes = np.concatenate([np.fromiter(map(hash, dataset.ids), np.int64, len(dataset)) for dataset in parts])
        self.shared_ids = len(np.unique(hashes)) < len(hashes)

    @cached_property
    def exhaustive(self) -> bool:
        """Whether labels that the data never mentions are absent; see `MultiLabelDataset`."""
        return all(dataset.exhaustive for dataset in self.datasets.values())

    @cached_property
    def tagged(self) -> bool:
        """Whether a list of tags per image is enough: every image has all its labels known, or none."""
        for dataset in self.datasets.values():
            unknown = dataset.label_rows.count_by_row(UNKNOWN)
            if ((unknown > 0) & (unknown < len(self.label_space))).any():
                return False
        return True


def checked_text(value: str, kind: str) -> str:
    """Return `value`.

    Args:
        kind: what the text is, for messages: "label".

    Raises:
        TagformerError: it cannot be written as UTF-8.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TagformerError(f"the {kind} {value!r} is not UTF-8: rename it.") from error
    return value


class Part(ABC):
    """One part of a split, open for writing.

    >>> from tagformer.data.formats import Part
    >>> class Ids(Part):
    ...     full = False
    ...     def __init__(self):
    ...         self.ids = []
    ...     def add(self, item):
    ...         self.ids.append(item.id)
    ...     def close(self):
    ...         pass
    >>> Ids().full
    False
    """

    @property
    @abstractmethod
    def full(self) -> bool:
        """Whether the part is large enough, so that the next image begins another one."""

    @abstractmethod
    def add(self, item: Item) -> None:
        """Write an image."""

    @abstractmethod
    def close(self) -> None:
        """Finish the file."""


class TextPart(Part):
    """A part that is a text file with one entry per image, each ending with a line break.

    Args:
        file: the file to write.
        line: gives an image's entry.

    >>> import tempfile
    >>> from tagformer.data import load_dataset
    >>> record = load_dataset("scenes?images=6")[0]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     part = TextPart(Path(folder) / "part", lambda item: item.id + chr(10))
    ...     part.add(Item(0, record.id, record, Prepared(64, 64, ".png", data=b"")))
    ...     part.close()
    ...     (Path(folder) / "part").read_text().strip()
    'train-00000'
    """

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
    """Writes one format; what it writes, the format's reader reads as the same data set.

    Args:
        job: what to write.
        part_bytes: a part with encoded images is full as soon as it has this size.

    Attributes:
        stores_images: the images' bytes are in the format's own files; otherwise these name image files.
        prefixes_ids: where two splits share an id, every id gets its split in front: ``train/10``.
        sidecar: name of the JSON file with the labels, beside the files of the splits; None where there is none.

    >>> from tagformer.data import get_format
    >>> get_format("csv").writer.files("train")
    ('train.csv',)
    """

    stores_images: ClassVar[bool] = False
    prefixes_ids: ClassVar[bool] = True
    sidecar: ClassVar[str | None] = SIDECAR

    def __init__(self, job: Job, part_bytes: int) -> None:
        self.job, self.part_bytes = job, part_bytes

    @classmethod
    @abstractmethod
    def files(cls, split: str) -> tuple[str, ...]:
        """Glob patterns of the files of a split (or of ``all``) in the target, which match no other files."""

    @classmethod
    def image_folder(cls, split: str) -> str:
        """Name of the folder for the split's images, where they are written as files."""
        return "images"

    @abstractmethod
    def open(self, file: Path, split: str) -> Part:
        """Begin a part in `file`."""

    @abstractmethod
    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        """Make the split's files from its parts. Called again after an interruption, so it must be repeatable.

        Args:
            parts: the parts that contain images, in the order of their rows.
            staged: ``with staged(file) as temporary`` writes a file that replaces `file` when the block ends.
        """

    def check_names(self) -> None:
        """Check before anything is written that the format can hold the labels' names.

        Raises:
            TagformerError: it cannot hold one of them.
        """
        for name in (*self.job.label_space.names, *self.job.label_space.groups):
            checked_text(name, "label")

    def check_id(self, image_id: str) -> None:
        """Check before anything is written that the format can hold an id.

        Raises:
            TagformerError: it cannot.
        """
        checked_text(image_id, "id")

    def id_of(self, split: str, image_id: str) -> str:
        """An image's id in the target."""
        return f"{split}/{image_id}" if self.prefixes_ids and self.job.shared_ids else image_id

    def sidecar_content(self) -> dict[str, Any]:
        """The content of `sidecar`."""
        return {**self.job.label_space.to_dict(), "exhaustive": self.job.exhaustive}

    def root(self, split: str) -> Path:
        """The folder that the reader takes image paths relative to."""
        return self.job.target

    def path(self, image: Prepared, split: str) -> str:
        """The image's path as it is written: relative for a file inside the target, absolute otherwise."""
        path = os.path.abspath(image.path or "")
        if path.startswith(str(self.job.target) + os.sep):
            path = Path(os.path.relpath(path, self.root(split))).as_posix()
        return checked_text(path, "name of image")


def append(parts: Sequence[Path], stream: IO[bytes]) -> None:
    """Copy each part to the end of an open file."""
    for part in parts:
        with part.open("rb") as source:
            shutil.copyfileobj(source, stream)


def move(parts: Sequence[Path], targets: Sequence[Path]) -> None:
    """Rename each part to its target, unless an earlier call already did."""
    for part, target in zip(parts, targets, strict=True):
        if part.exists():
            part.replace(target)
