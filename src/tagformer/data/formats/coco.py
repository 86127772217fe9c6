"""COCO: the official instances JSON.

Labels are in the order of the category ids; names are the key. An image has a label where any annotation of that
category, crowds included, lies on it. The size of a label on an image is that of its largest single instance, so a
label that only a crowd has is without one. Boxes are fractions of their image: a data set in which an image with
objects has no width or height is without boxes.

What our own files say beyond COCO is read too: an image's id under ``source_id``, the labels that nobody knows of it
under ``unknown_category_ids``; groups and extra labels, and whether sizes and boxes are known, under ``tagformer``.
Such a file may have the splits train, val and test in instances_{train,val,test}.json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagformer.data.columns import Files, SparseRows, Strings
from tagformer.data.dataset import LARGE, MEDIUM, NO_SIZE, SMALL, SPLITS, Box, MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.files import read_json
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN, LabelSpace

TREE = (
    "annotations/instances_{train,val}{2014,2017}.json, {train,val}{2014,2017}/*.jpg; or one FILE.json; or what "
    "'tagformer data convert' wrote"
)
OPTIONS = {
    "annotated": "only (default): leave out images without an annotation; all (default for our own files): keep them",
    "images": "folder of the images (default: the split's folder beside annotations/)",
}
YEARS = ("2017", "2014")
WHOLE = "instances.json"  # without splits
STEMS = {"train": "train", "test": "val"}
SMALL_AREA, MEDIUM_AREA = 32**2, 96**2  # square pixels


def tree(year: str) -> str:
    """The files of the format whose year is fixed."""
    return f"annotations/instances_{{train,val}}{year}.json, {{train,val}}{year}/*.jpg"


def splits(path: Path | None, options: dict[str, str], year: str | None = None) -> tuple[str, ...]:
    """train and test (COCO's val, on which the papers report); () for a single JSON file.

    Args:
        year: 2014 or 2017; None: the one of which the folder has most files, 2017 rather than 2014.

    Raises:
        TagformerError: none of the files is there.
    """
    assert path is not None
    return () if year is None and path.is_file() else tuple(name for name in _files(path, year) if name != "all")


def load(path: Path | None, split: str, options: dict[str, str], year: str | None = None) -> MultiLabelDataset:
    """Load COCO instances; see the module's text, and `splits` for `year`.

    Raises:
        TagformerError: no JSON, or a JSON without ``images``, ``annotations`` and ``categories``; an annotation that
            points to an image or category that is not there.
    """
    assert path is not None
    if year is None and path.is_file():
        return _load_json(path, Path(options.get("images", path.parent)), options)
    parts = {}
    for name, file in _files(path, year).items():
        if split in (name, "all"):
            own = path if name == "all" else path / file.stem.removeprefix("instances_")
            folder = Path(options.get("images", own))
            parts[name] = _load_json(file, folder, options)
    return concatenated(path, parts)


def size_class(area: float) -> int:
    """COCO's size of an area in square pixels: 1 small, 2 medium, 3 large."""
    return SMALL if area < SMALL_AREA else MEDIUM if area < MEDIUM_AREA else LARGE


def concatenated(path: Path, parts: Mapping[str, MultiLabelDataset]) -> MultiLabelDataset:
    """The data sets of several splits, one below the other; the one itself where there is only one.

    Where two splits number their images alike, the ids are preceded by the split: ``train/10``.

    Raises:
        TagformerError: the splits have different labels.
    """
    first, *others = parts.values()
    if not others:
        return first
    if any(part.label_space != first.label_space for part in others):
        raise TagformerError(f"{path}: the categories of the two splits differ.")
    ids = [id_ for part in parts.values() for id_ in part.ids]
    if len(set(ids)) < len(ids):
        ids = [f"{split}/{id_}" for split, part in parts.items() for id_ in part.ids]
    sizes = [part.size_rows for part in parts.values() if part.size_rows is not None]
    boxes = [part.boxes for part in parts.values() if part.boxes is not None]
    return first.replace(
        name=str(path),
        images=Files(Path(), (str(image) for part in parts.values() for image in part.images)),
        labels=SparseRows.concatenated([part.label_rows for part in parts.values()]),
        ids=Strings(ids),
        sizes=SparseRows.concatenated(sizes) if len(sizes) == len(parts) else None,
        boxes=[own for part in boxes for own in part] if len(boxes) == len(parts) else None,
        origins=Strings(origin for part in parts.values() for origin in part.origins or ()),
    )


def read_lists(file: Path, kind: str, *keys: str) -> dict[str, Any]:
    """The content of a COCO file.

    Args:
        kind: what it is called in messages: instances, captions.
        keys: the lists that it must have.

    Raises:
        TagformerError: not a JSON file, or one of the lists is not in it.
    """
    content = read_json(file)
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise TagformerError(f"{file} has no list '{key}': it is not a COCO {kind} file.")
    return content


@contextmanager
def entries_of(file: Path, kind: str) -> Iterator[None]:
    """Whatever goes wrong with an entry while its file is taken apart becomes a `TagformerError` about the file."""
    try:
        yield
    except KeyError as error:
        raise TagformerError(f"{file}: an entry lacks {error}: it is not a COCO {kind} file.") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise TagformerError(f"{file}: an entry is malformed ({error}): it is not a COCO {kind} file.") from error


def by_id(content: dict[str, Any], key: str, file: Path) -> dict[Any, dict[str, Any]]:
    """The entries of one of a file's lists by their ids.

    Raises:
        TagformerError: two have the same id.
    """
    entries = {entry["id"]: entry for entry in content[key]}
    if len(entries) < len(content[key]):
        twice = next(id_ for id_, count in Counter(entry["id"] for entry in content[key]).items() if count > 1)
        raise TagformerError(f"{file}: two {key} have the id {twice}: ids must be unique.")
    return entries


def categories(content: dict[str, Any], file: Path) -> tuple[tuple[str, ...], dict[Any, int]]:
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
    content: dict[str, Any], file: Path, images: Collection[Any], columns: Collection[Any] | None = None
) -> Iterator[dict[str, Any]]:
    """A file's annotations, each with its image and category.

    Args:
        images: the ids that an annotation may point to.
        columns: the categories' ids; None where annotations have no category.

    Raises:
        TagformerError: an annotation points to another image or category.
    """
    for annotation in content["annotations"]:
        if columns is not None and annotation["category_id"] not in columns:
            raise TagformerError(
                f"{file}: annotation {annotation.get('id')} has no category {annotation['category_id']}."
            )
        if annotation["image_id"] not in images:
            raise TagformerError(f"{file}: annotation {annotation.get('id')} has no image {annotation['image_id']}.")
        yield annotation


def _files(root: Path, year: str | None) -> dict[str, Path]:
    """Split -> its instances file; "all" for the only one of a folder without splits."""
    years = YEARS if year is None else (year,)
    candidates = [
        {split: root / "annotations" / f"instances_{stem}{one}.json" for split, stem in STEMS.items()} for one in years
    ]
    if year is None:
        candidates.append({split: root / "annotations" / f"instances_{split}.json" for split in SPLITS})
        candidates.append({"all": root / WHOLE})
    found = max(({name: file for name, file in own.items() if file.is_file()} for own in candidates), key=len)
    if not found:
        other = " (or val, or 2014)" if year is None else f" or instances_val{year}.json"
        raise TagformerError(f"{root} has no annotations/instances_train{years[0]}.json{other}: see the COCO layout.")
    return found


def _load_json(file: Path, folder: Path, options: dict[str, str]) -> MultiLabelDataset:
    keep = options.get("annotated")
    if keep not in (None, "only", "all"):
        raise TagformerError(f"option annotated={keep}: use only or all.")
    content = read_lists(file, "instances", "images", "annotations", "categories")
    with entries_of(file, "instances"):
        return _convert(content, file, folder, keep)


def _convert(content: dict[str, Any], file: Path, folder: Path, keep: str | None) -> MultiLabelDataset:
    names, columns = categories(content, file)
    images = by_id(content, "images", file)
    extras = content.get("tagformer")
    annotated = {annotation["image_id"] for annotation in content["annotations"]}
    every = keep == "all" or (keep is None and extras is not None)
    sizes: dict[Any, dict[int, int]] = {id_: {} for id_ in images if every or id_ in annotated}
    boxes: dict[Any, list[Box]] = {id_: [] for id_ in sizes}
    located = True
    for annotation in checked_annotations(content, file, images, columns):
        image, column = annotation["image_id"], columns[annotation["category_id"]]
        largest = sizes[image].setdefault(column, NO_SIZE)
        if annotation.get("iscrowd", 0):
            continue
        left, top, width, height = annotation["bbox"]
        sizes[image][column] = max(largest, size_class(annotation.get("area", width * height)))
        across, down = images[image].get("width"), images[image].get("height")
        if across and down:
            corners = (left / across, top / down, (left + width) / across, (top + height) / down)
            boxes[image].append(Box(names[column], corners))
        else:
            located = False
    label_space, exhaustive = LabelSpace(names), False
    if extras is not None:
        label_space = _label_space(names, extras, file)
        exhaustive, located = extras.get("exhaustive") is True, located and extras.get("boxes") is not False
    sized = extras is None or extras.get("sizes") is not False
    return MultiLabelDataset(
        name=str(file),
        label_space=label_space,
        images=Files(folder, (images[id_]["file_name"] for id_ in sizes)),
        labels=SparseRows.of((_states(own, images[id_], columns, file) for id_, own in sizes.items()), len(names)),
        ids=_ids(images, sizes, file),
        sizes=SparseRows.of(((own, NO_SIZE) for own in sizes.values()), len(names)) if sized else None,
        boxes=[tuple(own) for own in boxes.values()] if located else None,
        origins=Strings(f"{file}, image {id_}" for id_ in sizes),
        exhaustive=exhaustive,
    )


def _label_space(names: tuple[str, ...], extras: Mapping[str, Any], file: Path) -> LabelSpace:
    try:
        return LabelSpace(names, extras.get("groups", {}), tuple(extras.get("extra", ())))
    except TagformerError as error:
        raise TagformerError(f"{file}: {error}") from error


def _states(
    present: Collection[int], image: Mapping[str, Any], columns: Mapping[Any, int], file: Path
) -> tuple[dict[int, int], int]:
    """Column -> state, and the state of the other columns."""
    unknown = image.get("unknown_category_ids", ())
    for category in unknown:
        if category not in columns:
            raise TagformerError(f"{file}: image {image['id']} has no category {category} that could be unknown.")
    if 2 * len(unknown) <= len(columns):
        return {**{columns[category]: UNKNOWN for category in unknown}, **dict.fromkeys(present, PRESENT)}, ABSENT
    known = set(columns.values()) - {columns[category] for category in unknown}
    return {**dict.fromkeys(known, ABSENT), **dict.fromkeys(present, PRESENT)}, UNKNOWN


def _ids(images: Mapping[Any, Mapping[str, Any]], taken: Collection[Any], file: Path) -> Strings:
    """The ids of the images that are taken.

    Raises:
        TagformerError: one that is no text, or two that are the same.
    """
    ids = [images[id_].get("source_id", str(id_)) for id_ in taken]
    for own in ids:
        if not isinstance(own, str):
            raise TagformerError(f"{file}: source_id {own!r}: it must be text.")
    if len(set(ids)) < len(ids):
        twice = next(id_ for id_, count in Counter(ids).items() if count > 1)
        raise TagformerError(f"{file}: two images have the source_id '{twice}': ids must be unique.")
    return Strings(ids)
