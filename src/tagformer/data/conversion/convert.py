"""Writing a data set in another format, with its images as they are or smaller.

A conversion may be stopped at any moment: begun again it goes on where it was, and the same files come out. They do
not depend on the number of workers either.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tagformer
from tagformer.data.conversion.progress import State
from tagformer.data.conversion.worker import PART_BYTES, ConversionPass, Options, Progress
from tagformer.data.conversion.writers.base import Job
from tagformer.data.conversion.writers.registry import WRITERS
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.load import load_dataset
from tagformer.data.registry import Spec
from tagformer.errors import TagformerError, did_you_mean
from tagformer.images.source import Stored


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote.

    Attributes:
        spec: the address of what was written.
        images: split -> how many images.
        left_out: one sentence for each image that could not be read.
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
        target: ``format:folder``; the formats are csv, jsonl, parquet, coco and shards. The folder must be empty or
            hold the same conversion, which then goes on where it was.
        split: train, val or test; all: every split that the data have.
        size: images are made smaller so that the shorter side is at most this, and saved as JPEG, upright. None: they
            stay as they are; csv, jsonl and coco then name the files where they lie.
        quality: of the JPEGs, 1 to 100.
        workers: threads that read images; None: one for each CPU.
        on_bad_image: what to do with an image that cannot be read: ``error``, or ``skip`` (leave it out).
        overwrite: replace what another conversion wrote to the folder.
        part_bytes: a shard or Parquet file ends as soon as it is as large as this.
        progress: called with the number of images done so far, and of all.

    Raises:
        BadImageError: an image cannot be read.
        TagformerError: the data are at fault; the target's format is none that can be written, or cannot hold the
            names of the labels; the folder holds something else.
    """
    options = Options(size, quality, workers, on_bad_image, overwrite, part_bytes)
    format_, folder = parse_target(target)
    spec = Spec.parse(source)
    if spec.path is not None and folder.resolve() in (spec.path.resolve(), *spec.path.resolve().parents):
        raise TagformerError(f"{source} lies in {folder}, which is to be written: name another folder.")
    if spec.format == "imagefolder" and spec.path is not None and spec.path.resolve() in folder.resolve().parents:
        raise TagformerError(f"{folder} lies in {spec.path}, whose folders are labels: name another folder.")
    names = spec.splits if split == "all" else ()
    datasets = {name: load_dataset(source, name, on_bad_image) for name in names or (split,)}
    return _write(datasets, format_, folder, options, {"source": str(spec), "split": split}, progress)


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
    """
    format_, folder = parse_target(target)
    return _write(datasets, format_, folder, Options(**options), {"source": "memory", "split": "all"}, progress)


def parse_target(target: str) -> tuple[str, Path]:
    """The format and the folder of a target.

    Raises:
        TagformerError: no format that can be written, no folder, or a file's name.
    """
    format_, colon, path = target.partition(":")
    known = ", ".join(WRITERS)
    if not colon or format_ not in WRITERS:
        offered = did_you_mean(format_, WRITERS) if colon else ""
        raise TagformerError(f"cannot write '{target}'{offered}: name it FORMAT:FOLDER with one of {known}.")
    if not path or "?" in path:
        raise TagformerError(f"cannot write '{target}': name a folder, without options, as {format_}:FOLDER.")
    if Path(path).suffix in (".csv", ".jsonl", ".parquet", ".json", ".tar"):
        raise TagformerError(f"cannot write '{target}': name a folder, as {format_}:{Path(path).with_suffix('')}.")
    return format_, Path(os.path.expanduser(path))  # unlike Path's own, it takes a '~name' that is no user


def _write(
    datasets: Mapping[str, MultiLabelDataset],
    format_: str,
    folder: Path,
    options: Options,
    command: Mapping[str, Any],
    progress: Progress | None,
) -> Conversion:
    writer = WRITERS[format_](Job(datasets, folder), options.part_bytes)
    writer.check_names()
    for split, dataset in datasets.items():
        for image_id in dataset.ids:
            writer.check_id(writer.id_of(split, image_id))
    own: dict[str, Any] = {
        "format": format_,
        "size": options.size,
        "quality": options.quality,
        "part_bytes": options.part_bytes,
    }
    folders = [] if writer.stores else sorted({writer.folder(split).name for split in datasets})
    own |= {"image_folders": folders if _places(datasets, options) else [], "data": _fingerprint(datasets)}
    state = State(writer.job.target)
    try:
        state.begin({**command, **own, "version": tagformer.__version__}, options.overwrite)
        if state.finished:
            state.tidy()
        else:
            ConversionPass(writer, state, options, progress).run()
        return _result(state, f"{format_}:{folder}", options)
    except OSError as error:
        where = error.filename or folder
        raise TagformerError(
            f"cannot write {where} ({error.strerror or error}): mend that, and give the same command again to go on."
        ) from error


def _result(state: State, spec: str, options: Options) -> Conversion:
    said = state.result
    options.check(said["bad"])
    return Conversion(spec, said["images"], (*said["missing"], *said["bad"]))


def _places(datasets: Mapping[str, MultiLabelDataset], options: Options) -> bool:
    """Whether images are to be written as files, where a format does not store them."""
    return options.size is not None or any(
        not isinstance(image, Path) for dataset in datasets.values() for image in dataset.images
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
