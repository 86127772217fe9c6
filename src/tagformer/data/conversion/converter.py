"""Writing a data set in another format, with its images unchanged or made smaller.

A conversion may be stopped at any moment: run again, it continues where it stopped and writes the same files. The files
do not depend on the number of workers either.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagformer._version import __version__
from tagformer.data.conversion.progress import State
from tagformer.data.conversion.worker import PART_BYTES, ConversionPass, Options, Progress
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.writer import Job, Writer
from tagformer.data.load import load_splits
from tagformer.data.registry import FORMATS, Spec, get_format, split_address
from tagformer.errors import TagformerError, did_you_mean
from tagformer.extensions import is_reference
from tagformer.images.source import Stored


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        spec: the address of the data set that was written.
        images: split -> number of images.
        left_out: one sentence for each image that could not be read.

    >>> from tagformer.data import convert
    >>> convert("scenes?images=6", "jsonl:copy", split="test")
    Conversion(spec='jsonl:copy', images={'test': 1}, left_out=())
    """

    spec: str
    images: dict[str, int]
    left_out: tuple[str, ...]


def convert(
    source: str,
    target: str,
    split: str = "all",
    size: int | None = None,
    quality: int = 95,
    workers: int | None = None,
    on_bad_image: str = "error",
    overwrite: bool = False,
    part_bytes: int = PART_BYTES,
    progress: Progress | None = None,
) -> Conversion:
    """Write a data set in another format.

    Args:
        source: its address, ``format:path?option=value``.
        target: ``format:folder``; the formats are coco, csv, jsonl, parquet and shards. The folder must be empty or
            contain the same conversion, which is then continued.
        split: train, val or test; all: every split that the data has.
        size: make images smaller, so that the shorter side is at most this, and save them as JPEG, upright. None: leave
            them unchanged; csv, jsonl and coco then name the files where they are.
        quality: of the JPEGs, 1 to 100.
        workers: threads that read images; None: one for each CPU.
        on_bad_image: what to do with an image that cannot be read: ``error``, or ``skip`` (leave it out).
        overwrite: replace what another conversion wrote to the folder.
        part_bytes: a shard or Parquet file is complete as soon as it has this size.
        progress: called with the number of images done so far, and of all.

    Raises:
        BadImageError: an image cannot be read.
        TagformerError: the data is wrong; the target's format cannot be written, or cannot hold the names of the
            labels; the folder contains something else.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     convert("scenes?images=6", f"shards:{folder}/scenes").images
    {'train': 6, 'val': 1, 'test': 1}
    """
    options = Options(size, quality, workers, on_bad_image, overwrite, part_bytes)
    parsed = _Target.parse(target)
    spec, folder = Spec.parse(source), parsed.folder
    source_format = get_format(spec.format)
    if source_format.needs_path:
        path = spec.path.resolve()
        if folder.resolve() in (path, *path.parents):
            raise TagformerError(
                f"cannot write to {folder}, which contains the data set {source}: name another folder."
            )
        if source_format.folders_are_labels and path in folder.resolve().parents:
            raise TagformerError(
                f"cannot write to {folder}, since every folder in {spec.path} is a label: name another folder."
            )
    datasets = load_splits(source, split, on_bad_image)
    return _write(datasets, parsed, options, {"source": str(spec), "split": split}, progress)


def write_dataset(
    datasets: Mapping[str, MultiLabelDataset], target: str, progress: Progress | None = None, **options: Any
) -> Conversion:
    """Write data sets that are in memory.

    Args:
        datasets: split -> data set: some of train, val and test, or ``all`` alone for data without splits.
        target: as in `convert`, as are `progress` and the `options` size, quality, workers, on_bad_image, overwrite
            and part_bytes.

    Raises:
        ValueError: other splits, or splits with different labels.
        BadImageError, TagformerError: as `convert`.

    >>> import tempfile
    >>> from tagformer.data import load_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_dataset({"all": load_dataset("scenes?images=6")}, f"csv:{folder}/scenes").images
    {'all': 6}
    """
    command = {"source": "memory", "split": "all"}
    return _write(datasets, _Target.parse(target), Options(**options), command, progress)


@dataclass(frozen=True)
class _Target:
    """The format, its writer and the folder of a target."""

    format: str
    writer: type[Writer]
    folder: Path

    @classmethod
    def parse(cls, text: str) -> _Target:
        """
        Raises:
            TagformerError: a format that cannot be written, no folder, or the name of a file.
        """
        writers = {name: entry.writer for name, entry in FORMATS.items() if entry.writer is not None}
        name, path = split_address(text)
        writer = get_format(name).writer if is_reference(name) else writers.get(name)
        if writer is None:
            raise TagformerError(
                f"cannot write '{text}'{did_you_mean(name, writers)}: name it FORMAT:FOLDER with one of "
                f"{', '.join(writers)}."
            )
        if not path or "?" in path:
            raise TagformerError(f"cannot write '{text}': name a folder, without options, as {name}:FOLDER.")
        suffixes = {Path(file).suffix for other in (writer, *writers.values()) for file in other.files("all")}
        if Path(path).suffix in suffixes - {""}:
            raise TagformerError(f"cannot write '{text}': name a folder, as {name}:{Path(path).with_suffix('')}.")
        folder = Path(os.path.expanduser(path))  # unlike Path.expanduser, this accepts '~name' without such a user
        return cls(name, writer, folder)

    def __str__(self) -> str:
        return f"{self.format}:{self.folder}"


def _write(
    datasets: Mapping[str, MultiLabelDataset],
    target: _Target,
    options: Options,
    command: Mapping[str, Any],
    progress: Progress | None,
) -> Conversion:
    writer = target.writer(Job(datasets, target.folder), options.part_bytes)
    writer.check_names()
    for split, dataset in datasets.items():
        for image_id in dataset.ids:
            writer.check_id(writer.id_of(split, image_id))
    folders = sorted({writer.image_folder(split) for split in datasets})
    details: dict[str, Any] = {
        "format": target.format,
        "size": options.size,
        "quality": options.quality,
        "part_bytes": options.part_bytes,
        "image_folders": folders if _writes_image_files(writer, options) else [],
        "data": _fingerprint(datasets),
        "version": __version__,
    }
    state = State(writer.job.target)
    try:
        state.begin({**command, **details}, options.overwrite)
        if state.finished:
            state.tidy()
        else:
            ConversionPass(writer, state, options, progress).run()
        return _result(state, str(target), options)
    except OSError as error:
        where = error.filename or target.folder
        raise TagformerError(
            f"cannot write {where} ({error.strerror or error}): fix that, and run the same command again to continue."
        ) from error


def _result(state: State, spec: str, options: Options) -> Conversion:
    result = state.result
    options.raise_on_bad_images(result["bad"])
    return Conversion(spec, result["images"], (*result["missing"], *result["bad"]))


def _writes_image_files(writer: Writer, options: Options) -> bool:
    """Whether images become files in the target: the format does not store them, and they are new or not yet files."""
    return not writer.stores_images and (
        options.size is not None
        or any(not isinstance(image, Path) for dataset in writer.job.datasets.values() for image in dataset.images)
    )


def _fingerprint(datasets: Mapping[str, MultiLabelDataset]) -> str:
    """A hash of the data sets without their pixels."""
    digest = hashlib.blake2b(digest_size=16)
    for split, dataset in datasets.items():
        head = [split, len(dataset), dataset.label_space.to_dict(), dataset.exhaustive]
        digest.update(json.dumps(head).encode())
        for image_id, image in zip(dataset.ids, dataset.images, strict=True):
            place = os.path.abspath(image) if isinstance(image, Path) else image if isinstance(image, Stored) else ""
            digest.update(f"{image_id}\n{place}\n".encode("utf-8", "surrogateescape"))
        for rows in (dataset.label_rows, dataset.size_rows):
            for block in rows.blocks() if rows is not None else ():
                digest.update(block.numpy().tobytes())
        for boxes in dataset.boxes or ():
            digest.update(repr(boxes).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
