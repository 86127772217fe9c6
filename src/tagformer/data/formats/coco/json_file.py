"""COCO's JSON files: their lists, checked, and data sets made of several of them; for instances and captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagformer.data.columns import Files, Strings
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError
from tagformer.files import read_json
from tagformer.labels.space import LabelSpace

STEMS = {"train": "train", "test": "val"}  # COCO's own name of a split, in the names of its files and folders


def read_lists(file: Path, kind: str, *keys: str) -> dict[str, Any]:
    """The content of a COCO file.

    Args:
        kind: the kind of file, for messages: instances, captions.
        keys: the lists that it must have.

    Raises:
        TagformerError: it is not JSON, or one of the lists is missing.
    """
    content = read_json(file)
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise TagformerError(f"{file} has no list '{key}': it is not a COCO {kind} file.")
    return content


@contextmanager
def reported_entries(file: Path, kind: str) -> Iterator[None]:
    """Turn any error about the form of an entry into a `TagformerError` that names the file."""
    try:
        yield
    except KeyError as error:
        raise TagformerError(f"{file}: an entry lacks {error}: it is not a COCO {kind} file.") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise TagformerError(f"{file}: an entry is malformed ({error}): it is not a COCO {kind} file.") from error


def by_id(content: Mapping[str, Any], key: str, file: Path) -> dict[Any, dict[str, Any]]:
    """The entries of one of a file's lists by their ids.

    Raises:
        TagformerError: two have the same id.
    """
    entries = {entry["id"]: entry for entry in content[key]}
    if len(entries) < len(content[key]):
        duplicate = next(id_ for id_, count in Counter(entry["id"] for entry in content[key]).items() if count > 1)
        raise TagformerError(f"{file}: two {key} have the id {duplicate}: ids must be unique.")
    return entries


def read_categories(content: Mapping[str, Any], file: Path) -> tuple[tuple[str, ...], dict[Any, int]]:
    """The categories' names in the order of their ids, and the column of each id.

    Raises:
        TagformerError: two have the same id or name, or one has no name.
    """
    entries = by_id(content, "categories", file)
    order = sorted(entries)
    try:
        names = LabelSpace(tuple(entries[id_]["name"] for id_ in order)).names
    except TagformerError as error:
        raise TagformerError(f"{file}: {error}") from error
    return names, {id_: column for column, id_ in enumerate(order)}


def checked_annotations(
    content: Mapping[str, Any], file: Path, images: Collection[Any], categories: Collection[Any] | None = None
) -> Iterator[dict[str, Any]]:
    """A file's annotations.

    Args:
        images: the ids of the images that an annotation may belong to.
        categories: the categories' ids; None where annotations have no category.

    Raises:
        TagformerError: an annotation belongs to another image or category.
    """
    for annotation in content["annotations"]:
        if categories is not None and annotation["category_id"] not in categories:
            raise TagformerError(
                f"{file}: annotation {annotation.get('id')} has no category {annotation['category_id']}."
            )
        if annotation["image_id"] not in images:
            raise TagformerError(f"{file}: annotation {annotation.get('id')} has no image {annotation['image_id']}.")
        yield annotation


def concatenate_splits(path: Path, splits: Mapping[str, MultiLabelDataset]) -> MultiLabelDataset:
    """The data sets of several splits as one, in their order; a single one is returned unchanged.

    Where two splits share an id, every id gets its split in front: ``train/10``.

    Raises:
        TagformerError: the splits have different labels.
    """
    first, *others = splits.values()
    if not others:
        return first
    if any(dataset.label_space != first.label_space for dataset in others):
        raise TagformerError(f"{path}: the categories of the two splits differ.")
    datasets = list(splits.values())
    ids = [id_ for dataset in datasets for id_ in dataset.ids]
    if len(set(ids)) < len(ids):
        ids = [f"{split}/{id_}" for split, dataset in splits.items() for id_ in dataset.ids]
    sizes = [dataset.size_rows for dataset in datasets if dataset.size_rows is not None]
    boxes = [dataset.boxes for dataset in datasets if dataset.boxes is not None]
    return first.replace(
        name=str(path),
        images=Files(Path(), (str(image) for dataset in datasets for image in dataset.images)),
        labels=SparseRows.concatenated([dataset.label_rows for dataset in datasets]),
        ids=Strings(ids),
        sizes=SparseRows.concatenated(sizes) if len(sizes) == len(datasets) else None,
        boxes=[objects for column in boxes for objects in column] if len(boxes) == len(datasets) else None,
        origins=Strings(origin for dataset in datasets for origin in dataset.origins or ()),
    )
