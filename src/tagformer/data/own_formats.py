"""Calls of a data format, where it is one of the user checked: every fault is one sentence with the format's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tagformer.data.dataset import LARGE, NO_SIZE, SPLITS, Box, MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.writer import Writer
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError
from tagformer.extensions import is_reference, own_code
from tagformer.images.source import Rendered, Stored
from tagformer.labels.space import PRESENT, UNKNOWN, LabelSpace

Options = Mapping[str, str]


def create_own(name: str, format_class: type[Format]) -> Format:
    """An own format, with the attributes that every format has.

    Raises:
        TagformerError: it cannot be created, or an attribute has another type than `Format` describes.
    """
    with own_code(name, f"data format '{name}': its constructor"):
        try:
            created: Any = format_class()
        except TypeError as error:  # an abstract method is missing, or the constructor needs arguments
            raise TagformerError(
                f"data format '{name}' cannot be created ({error}): define splits and load, and no constructor "
                "arguments."
            ) from error
    options = created.options
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise TagformerError(f"data format '{name}': options must be a dict of names and what they mean.")
    if not set(created.path_options) <= set(options):
        raise TagformerError(f"data format '{name}': path_options must be a tuple of names that options has too.")
    writer = created.writer
    if writer is not None and not (isinstance(writer, type) and issubclass(writer, Writer)):
        raise TagformerError(f"data format '{name}': writer must be a subclass of Writer, or None.")
    return created


def splits_of(name: str, format_: Format, path: Path, options: Options) -> tuple[str, ...]:
    """The splits that the data defines.

    Raises:
        TagformerError: as `Format.splits`; an own format fails, or returns something else than splits.
    """
    if not is_reference(name):
        return format_.splits(path, options)
    part = f"data format '{name}': splits"
    with own_code(name, part):
        splits: Any = format_.splits(path, options)
    ordered = tuple(split for split in SPLITS if isinstance(splits, tuple | list) and split in splits)
    if not isinstance(splits, tuple | list) or len(splits) != len(ordered):
        raise TagformerError(f"{part} must return a tuple of some of train, val and test, or (), not {splits!r}.")
    return ordered


def load_with(name: str, format_: Format, path: Path, split: str, options: Options) -> MultiLabelDataset:
    """One split of the data, or all images where `split` is ``all``.

    Raises:
        TagformerError: as `Format.load`; an own format fails, or returns a data set that is not consistent.
    """
    if not is_reference(name):
        return format_.load(path, split, options)
    part = f"data format '{name}': load"
    with own_code(name, part):
        dataset: Any = format_.load(path, split, options)
        if not isinstance(dataset, MultiLabelDataset):
            kind = "None" if dataset is None else f"a {type(dataset).__name__}"
            raise TagformerError(f"{part} must return a MultiLabelDataset, not {kind}.")
        for problem in _problems(dataset):
            raise TagformerError(f"{part}, split '{split}': {problem}.")
    return dataset


def _problems(dataset: MultiLabelDataset) -> Iterable[str]:
    """What is wrong with a data set; in order, so that the first one is worth a message."""
    if not isinstance(dataset.label_space, LabelSpace):
        yield f"label_space must be a LabelSpace, not a {type(dataset.label_space).__name__}"
    yield from _problems_of_ids(dataset.ids)
    for row, image in enumerate(dataset.images):
        if not isinstance(image, Path | Rendered | Stored):
            yield (
                f"image {row} must be a Path, or an object with render() or read(), not a {type(image).__name__}"
                + (": write Path(...) around it" if isinstance(image, str) else "")
            )
    if not _within(dataset.label_rows, UNKNOWN, PRESENT):
        yield "labels must be 1 present, 0 absent or -1 unknown"
    if dataset.size_rows is not None and not _within(dataset.size_rows, NO_SIZE, LARGE):
        yield "sizes must be 0 none, 1 small, 2 medium or 3 large"
    columns = {"boxes": dataset.boxes, "origins": dataset.origins}
    for column, values in columns.items():
        if values is not None and len(values) != len(dataset):
            yield f"{len(values)} {column} for {len(dataset)} images: give one for each image"
    for row, boxes in enumerate(dataset.boxes or ()):
        if not isinstance(boxes, tuple | list) or not all(isinstance(box, Box) for box in boxes):
            yield f"the boxes of image {row} must be a tuple of Box"
    for row, origin in enumerate(dataset.origins or ()):
        if not isinstance(origin, str):
            yield f"the origin of image {row} must be text, not a {type(origin).__name__}"


def _problems_of_ids(ids: Sequence[Any]) -> Iterable[str]:
    rows: dict[str, int] = {}
    for row, image_id in enumerate(ids):
        if not isinstance(image_id, str) or not image_id:
            yield f"the id of image {row} must be text that is not empty, not {image_id!r}"
        elif image_id in rows:
            yield f"the id '{image_id}' of image {row} is that of image {rows[image_id]} too: ids must be unique"
        rows[image_id] = row


def _within(rows: SparseRows, lowest: int, highest: int) -> bool:
    return all(not block.numel() or (block.min() >= lowest and block.max() <= highest) for block in rows.blocks())
