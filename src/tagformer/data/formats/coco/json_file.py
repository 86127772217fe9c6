"""COCO's JSON files: their lists, checked, and data sets made of several of them; for instances and captions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagformer.data.columns import Files, Strings
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError
from tagformer.files import read_json

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
    except TagformerError as error:  # a message quotes the file, which may spell half a surrogate pair
        text = str(error).encode("utf-8", "backslashreplace").decode()
        raise error if text == str(error) else TagformerError(text) from error
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        reason = str(error).encode("utf-8", "backslashreplace").decode()
        raise TagformerError(f"{file}: an entry is malformed ({reason}): it is not a COCO {kind} file.") from error


def by_id(content: Mapping[str, Any], key: str, file: Path) -> dict[Any, dict[str, Any]]:
    """The entries of one of a file's lists by their ids.

    Raises:
        TagformerError: an entry is not an object or has no id, or two have the same id.
    """
    entries: dict[Any, dict[str, Any]] = {}
    for number, entry in enumerate(content[key], 1):
        if not isinstance(entry, dict) or not _is_id(entry.get("id")):
            reason = "has no 'id' that is a number or text" if isinstance(entry, dict) else "is not an object"
            raise TagformerError(f"{file}: entry {number} of '{key}' {reason}: it is not a COCO file.")
        if entry["id"] in entries:
            raise TagformerError(f"{file}: two {key} have the id {entry['id']}: ids must be unique.")
        entries[entry["id"]] = entry
    return entries


def text_of(entry: Mapping[str, Any], key: str, kind: str, file: Path) -> str:
    """The text under a key of an image, annotation or category.

    Raises:
        TagformerError: it is missing, empty, or not text.
    """
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip() or not _is_unicode(value):
        problem = f"has no '{key}'" if value is None else f"has the {key} {value!r}"
        name = f"{kind} {entry['id']}" if _is_id(entry.get("id")) else f"an {kind}"
        raise TagformerError(f"{file}: {name} {problem}: it must be text.")
    return value


class IdIndex:
    """Finds the entry that an annotation belongs to, also where one file has its id as text and as a number.

    Args:
        ids: the entries' ids.

    >>> IdIndex(["0", "12"]).find(12), IdIndex([0, 12]).find("12"), IdIndex([0]).find(1)
    ('12', 12, None)
    """

    def __init__(self, ids: Collection[Any]) -> None:
        self._ids = ids if isinstance(ids, (dict, set)) else set(ids)
        self._by_number: dict[int, list[Any]] | None = None

    def find(self, id_: Any) -> Any:
        """The entry's id as the entry has it; None where there is no such entry, or where two could be meant."""
        if id_ in self._ids:
            return id_
        number = _as_number(id_)
        if number is None:
            return None
        if self._by_number is None:
            self._by_number = defaultdict(list)
            for own in self._ids:
                if (own_number := _as_number(own)) is not None:
                    self._by_number[own_number].append(own)
        same = self._by_number.get(number, [])
        return same[0] if len(same) == 1 and type(same[0]) is not type(id_) else None

    def hint(self, id_: Any) -> str:
        """What may be the reason why an id is not found, for messages; "" where there is none."""
        other = next(iter(self._ids), None)
        if other is None or isinstance(other, str) == isinstance(id_, str):
            return ""
        kinds = ("text", "a number") if isinstance(other, str) else ("a number", "text")
        return f" (the first id there is {kinds[0]}, {other!r}; this one is {kinds[1]}, {id_!r})"


def checked_annotations(
    content: Mapping[str, Any], file: Path, images: Collection[Any], categories: Collection[Any] | None = None
) -> Iterator[tuple[dict[str, Any], Any, Any]]:
    """A file's annotations, each with the ids of its image and its category as those entries have them.

    Args:
        images: the ids of the images that an annotation may belong to.
        categories: the categories' ids; None where annotations have no category, which is then None.

    Raises:
        TagformerError: an annotation is not an object, or belongs to another image or category.
    """
    image_index, category_index = IdIndex(images), IdIndex(categories or ())
    for number, annotation in enumerate(content["annotations"], 1):
        if not isinstance(annotation, dict):
            raise TagformerError(f"{file}: entry {number} of 'annotations' is not an object: it is not a COCO file.")
        category = None
        if categories is not None:
            category = _joined(annotation, "category", category_index, number, file)
        yield annotation, _joined(annotation, "image", image_index, number, file), category


def annotation_name(annotation: Mapping[str, Any], number: int) -> str:
    """An annotation in messages, by its id, or by its number in the list where it has none."""
    return f"annotation {annotation['id']}" if _is_id(annotation.get("id")) else f"entry {number} of 'annotations'"


def _joined(annotation: Mapping[str, Any], kind: str, index: IdIndex, number: int, file: Path) -> Any:
    id_, key = annotation.get(f"{kind}_id"), f"{kind}_id"
    name = annotation_name(annotation, number)
    if not _is_id(id_):
        problem = f"has no '{key}'" if id_ is None else f"has the {key} {id_!r}"
        raise TagformerError(f"{file}: {name} {problem}: it must be the id of an entry of '{_plural(kind)}'.")
    found = index.find(id_)
    if found is None:
        raise TagformerError(
            f"{file}: {name} has no {kind} {id_}: no entry of '{_plural(kind)}' has this id{index.hint(id_)}."
        )
    return found


def _plural(kind: str) -> str:
    return "categories" if kind == "category" else f"{kind}s"


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return value != "" and _is_unicode(value)
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _as_number(id_: Any) -> int | None:
    """The whole number that an id is or spells; None where it does not."""
    if isinstance(id_, str):
        return int(id_) if id_.isdecimal() and id_.isascii() and len(id_) < 19 else None
    return int(id_) if id_ == id_ and abs(id_) < 1e18 and id_ == int(id_) else None


def _is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; JSON's escapes can spell half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
        raise TagformerError(f"{path}: the categories of its splits differ: give all files the same categories.")
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
        warnings=tuple(dict.fromkeys(warning for dataset in datasets for warning in dataset.warnings)),
    )
