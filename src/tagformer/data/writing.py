"""What the writers share: records with their images, where those go and what they are called, ids and labels.json."""

from __future__ import annotations

import io
import itertools
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tagformer.data.images import EXTENSIONS
from tagformer.data.record import MultiLabelDataset, Record, Rendered
from tagformer.data.table import SIDECAR, SPLITS
from tagformer.errors import BadImageError, TagformerError
from tagformer.files import replacing, write_json
from tagformer.labels import UNKNOWN

Encoded = Path | bytes  # where an image lies, or the encoded image itself
Images = Callable[[MultiLabelDataset], Iterable[tuple[Record, Encoded]]]
KINDS = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}  # of Pillow; other kinds are called like their files


def in_place(dataset: MultiLabelDataset) -> Iterator[tuple[Record, Encoded]]:
    """All records, the images as they are: files by their paths, others encoded.

    Raises:
        BadImageError: a stored image cannot be read.
    """
    for index in range(len(dataset)):
        record = dataset[index]
        image = record.image
        if isinstance(image, Path):
            yield record, image
        elif isinstance(image, Rendered):
            buffer = io.BytesIO()
            image.render().save(buffer, "PNG")
            yield record, buffer.getvalue()
        else:
            try:
                yield record, image.read()
            except (OSError, ValueError) as error:
                raise BadImageError(f"image {image} cannot be read ({error}).") from error


class Job:
    """The data sets to write, and where."""

    def __init__(
        self, datasets: Mapping[str, MultiLabelDataset], target: Path, images: Images, relative: bool = False
    ) -> None:
        self._datasets, self._target, self._images, self._relative = datasets, target, images, relative
        self._used: set[int] = set()
        if set(datasets) != {"all"} and not (datasets and set(datasets) <= set(SPLITS)):
            raise ValueError(f"the splits are {', '.join(datasets)}: give train, val and test, or all")
        own = list(datasets.values())
        self.label_space = own[0].label_space
        if any(dataset.label_space != self.label_space for dataset in own):
            raise ValueError("the splits have different labels")
        hashes = np.concatenate([np.fromiter(map(hash, dataset.ids), np.int64, len(dataset)) for dataset in own])
        self._shared_ids = len(np.unique(hashes)) < len(hashes)

    @cached_property
    def tagged(self) -> bool:
        """Whether lists of tags say everything: of each image all labels are known, or none."""
        for dataset in self._datasets.values():
            unknown = dataset.label_rows.count_by_row(UNKNOWN)
            if ((unknown > 0) & (unknown < len(self.label_space))).any():
                return False
        return True

    def records(self, split: str, shared: bool = False) -> Iterator[tuple[str, Record, Encoded]]:
        """Id, record and image of what is to be written; with `shared`, another split may have the same ids."""
        prefix = f"{split}/" if self._shared_ids and not shared else ""
        for record, image in self._images(self._datasets[split]):
            yield _text(prefix + record.id), record, image

    def path(self, image_id: str, image: Encoded, folder: str = "") -> str:
        """What to write for an image's path, seen from `folder`; an encoded image is written to a file first."""
        root = os.path.abspath(self._target / folder)
        if isinstance(image, bytes):
            image = self._placed(image_id, image, Path(root) / ("" if folder else "images"))
        path = os.path.abspath(image)
        if self._relative or path.startswith(os.path.abspath(self._target) + os.sep):
            path = Path(os.path.relpath(path, root)).as_posix()
        return _text(path)

    def _placed(self, image_id: str, data: bytes, folder: Path) -> Path:
        """Write an encoded image under its id's name."""
        path = folder / file_name(image_id, header_of(data, image_id).extension)
        for number in itertools.count(2):
            place = hash(str(path).casefold())  # some file systems tell no cases apart
            if place not in self._used:
                break
            path = path.with_stem(f"{path.stem}-{number}")
        self._used.add(place)
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        return path

    def finish(self, whole: str) -> Path:
        """Write labels.json. Gives what the format's reader takes: the folder or, without splits, its file `whole`."""
        exhaustive = all(dataset.exhaustive for dataset in self._datasets.values())
        write_json(self._target / SIDECAR, {**self.label_space.to_dict(), "exhaustive": exhaustive})
        return self._target / whole if "all" in self._datasets else self._target


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TagformerError(f"the name of image {value!r} is not UTF-8: rename the file.") from error
    return value


def file_name(image_id: str, extension: str) -> str:
    """A path for an image that any file system takes, below the folder that it is for."""
    stem, own = os.path.splitext(image_id)
    parts = (stem if own.lower() in EXTENSIONS else image_id).split("/")
    safe = [re.sub(r'[<>:"\\|?*\x00-\x1f]', "_", part).encode()[:200].decode(errors="ignore") for part in parts]
    return ("/".join(part for part in safe if part not in ("", ".", "..")) or "_") + extension


def encoded(image: Encoded) -> bytes:
    """The encoded image itself, read from its file where it is a path.

    Raises:
        BadImageError: the file cannot be read.
    """
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes()
    except OSError as error:
        raise BadImageError(f"image {image} cannot be read ({error.strerror or error}).") from error


class Header(NamedTuple):
    """What an image's header says; the size is that of the upright image."""

    extension: str
    width: int
    height: int


def header_of(image: Encoded, image_id: str) -> Header:
    """
    Args:
        image_id: for messages.

    Raises:
        BadImageError: not an image, or of a kind that the readers pass over.
    """
    name = f"of id '{image_id}'" if isinstance(image, bytes) else image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as picture:
                width, height = picture.size
                sideways = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                extension = KINDS.get(picture.format or "", f".{(picture.format or '').lower()}")
    except Exception as error:  # Pillow's parsers raise errors of any kind on broken files
        raise BadImageError(f"image {name} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if extension not in EXTENSIONS:
        raise BadImageError(f"image {name} is of a kind that is not read: convert it to JPEG or PNG.")
    return Header(extension, height, width) if sideways else Header(extension, width, height)
