"""COCO's objects: the official instances JSON.

Labels are in the order of the category ids, and are matched by name. An image has a label where any annotation of that
category, crowds included, is on it. The size of a label on an image is the size of its largest single instance, so a
label with only a crowd has none. Boxes are fractions of the image: a data set has no boxes where an image with objects
has no width or height.

Files that Tagformer wrote contain more than COCO has, which is read too: an image's id under ``source_id`` and its
unknown labels under ``unknown_category_ids``; groups and extra labels, and whether sizes and boxes are known, under
``tagformer``. Such a data set may have the splits train, val and test in instances_{train,val,test}.json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tagformer.data.columns import Files, Strings
from tagformer.data.dataset import NO_SIZE, SPLITS, Box, MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.formats.coco.json_file import (
    STEMS,
    by_id,
    checked_annotations,
    concatenate_splits,
    read_categories,
    read_lists,
    reported_entries,
)
from tagformer.data.formats.coco.sizes import size_class
from tagformer.data.formats.coco.writer import UNSPLIT, CocoWriter
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN, LabelSpace

YEARS = ("2017", "2014")


class CocoFormat(Format):
    """COCO's instances; see the module's text.

    Args:
        year: 2014 or 2017, with COCO's own files only. None: the year of which a folder has most files, 2017 rather
            than 2014; what Tagformer wrote; or a single JSON file.

    >>> CocoFormat("2017").layout
    'annotations/instances_{train,val}2017.json, {train,val}2017/*.jpg'
    """

    options: ClassVar[Mapping[str, str]] = {
        "annotated": "only (default): leave out images without an annotation; all (default for files that Tagformer "
        "wrote): keep them",
        "images": "folder of the images (default: the split's folder beside annotations/)",
    }
    path_options = ("images",)

    def __init__(self, year: str | None = None) -> None:
        self.year = year
        if year is None:
            self.writer = CocoWriter
            self.layout = (
                "annotations/instances_{train,val}{2014,2017}.json, {train,val}{2014,2017}/*.jpg; or one FILE.json; or "
                "what 'tagformer data convert' wrote"
            )
        else:
            self.layout = f"annotations/instances_{{train,val}}{year}.json, {{train,val}}{year}/*.jpg"

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """train and test (COCO's val, on which the papers report); () for a single JSON file.

        Raises:
            TagformerError: none of the files exists.
        """
        if self.year is None and path.is_file():
            return ()
        return tuple(split for split in self._files(path) if split != "all")

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: a file that is not JSON or has no ``images``, ``annotations`` or ``categories``; an
                annotation of an image or category that does not exist.
        """
        if self.year is None and path.is_file():
            return _load_file(path, Path(options.get("images", path.parent)), options)
        splits = {}
        for name, file in self._files(path).items():
            if split in (name, "all"):
                beside = path if name == "all" else path / file.stem.removeprefix("instances_")
                splits[name] = _load_file(file, Path(options.get("images", beside)), options)
        return concatenate_splits(path, splits)

    def _files(self, root: Path) -> dict[str, Path]:
        """Split -> its instances file; "all" for the only one of a folder without splits."""
        folder, years = root / "annotations", YEARS if self.year is None else (self.year,)
        candidates = [
            {split: folder / f"instances_{stem}{year}.json" for split, stem in STEMS.items()} for year in years
        ]
        if self.year is None:
            candidates.append({split: folder / f"instances_{split}.json" for split in SPLITS})
            candidates.append({"all": root / UNSPLIT})
        existing = [{split: file for split, file in layout.items() if file.is_file()} for layout in candidates]
        files = max(existing, key=len)
        if not files:
            other = " (or val, or 2014)" if self.year is None else f" or instances_val{self.year}.json"
            raise TagformerError(
                f"{root} has no annotations/instances_train{years[0]}.json{other}: see the COCO layout."
            )
        return files


@dataclass(frozen=True)
class _Objects:
    """The objects of the images that are kept.

    Attributes:
        sizes: image id -> column -> size of its largest instance, for the columns of the labels that it has.
        boxes: image id -> its boxes.
        located: whether every image with objects has a width and a height, so that its boxes are fractions.
    """

    sizes: dict[Any, dict[int, int]]
    boxes: dict[Any, list[Box]]
    located: bool


def _load_file(file: Path, folder: Path, options: Mapping[str, str]) -> MultiLabelDataset:
    keep = options.get("annotated")
    if keep not in (None, "only", "all"):
        raise TagformerError(f"option annotated={keep}: use only or all.")
    content = read_lists(file, "instances", "images", "annotations", "categories")
    with reported_entries(file, "instances"):
        return _read_instances(content, file, folder, keep)


def _read_instances(content: Mapping[str, Any], file: Path, folder: Path, keep: str | None) -> MultiLabelDataset:
    names, columns = read_categories(content, file)
    images = by_id(content, "images", file)
    extras = content.get("tagformer")
    keep_all = keep == "all" or (keep is None and extras is not None)
    objects = _read_objects(content, file, images, names, columns, keep_all)
    label_space, exhaustive, sized, located = LabelSpace(names), False, True, objects.located
    if extras is not None:
        label_space, exhaustive = _label_space(names, extras, file), extras.get("exhaustive") is True
        sized, located = extras.get("sizes") is not False, located and extras.get("boxes") is not False
    rows = (_states(present, images[id_], columns, file) for id_, present in objects.sizes.items())
    sizes = ((of_image, NO_SIZE) for of_image in objects.sizes.values())
    return MultiLabelDataset(
        name=str(file),
        label_space=label_space,
        images=Files(folder, (images[id_]["file_name"] for id_ in objects.sizes)),
        labels=SparseRows.of(rows, len(names)),
        ids=_ids(images, objects.sizes, file),
        sizes=SparseRows.of(sizes, len(names)) if sized else None,
        boxes=[tuple(boxes) for boxes in objects.boxes.values()] if located else None,
        origins=Strings(f"{file}, image {id_}" for id_ in objects.sizes),
        exhaustive=exhaustive,
    )


def _read_objects(
    content: Mapping[str, Any],
    file: Path,
    images: Mapping[Any, Mapping[str, Any]],
    names: Sequence[str],
    columns: Mapping[Any, int],
    keep_all: bool,
) -> _Objects:
    """The objects of the images that have an annotation, or of all images."""
    annotated = {annotation["image_id"] for annotation in content["annotations"]}
    sizes: dict[Any, dict[int, int]] = {id_: {} for id_ in images if keep_all or id_ in annotated}
    boxes: dict[Any, list[Box]] = {id_: [] for id_ in sizes}
    located = True
    for annotation in checked_annotations(content, file, images, columns):
        image, column = annotation["image_id"], columns[annotation["category_id"]]
        largest = sizes[image].setdefault(column, NO_SIZE)
        if annotation.get("iscrowd", 0):
            continue
        left, top, width, height = annotation["bbox"]
        sizes[image][column] = max(largest, size_class(annotation.get("area", width * height)))
        image_width, image_height = images[image].get("width"), images[image].get("height")
        if image_width and image_height:
            right, bottom = (left + width) / image_width, (top + height) / image_height
            boxes[image].append(Box(names[column], (left / image_width, top / image_height, right, bottom)))
        else:
            located = False
    return _Objects(sizes, boxes, located)


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
            raise TagformerError(
                f"{file}: image {image['id']}: unknown_category_ids has {category}, which is not a category."
            )
    if 2 * len(unknown) <= len(columns):
        return {**{columns[category]: UNKNOWN for category in unknown}, **dict.fromkeys(present, PRESENT)}, ABSENT
    annotated = set(columns.values()) - {columns[category] for category in unknown}
    return {**dict.fromkeys(annotated, ABSENT), **dict.fromkeys(present, PRESENT)}, UNKNOWN


def _ids(images: Mapping[Any, Mapping[str, Any]], kept: Collection[Any], file: Path) -> Strings:
    """The ids of the images that are kept.

    Raises:
        TagformerError: an id that is not text, or two that are the same.
    """
    ids = [images[id_].get("source_id", str(id_)) for id_ in kept]
    for image_id in ids:
        if not isinstance(image_id, str):
            raise TagformerError(f"{file}: source_id {image_id!r}: it must be text.")
    if len(set(ids)) < len(ids):
        duplicate = next(image_id for image_id, count in Counter(ids).items() if count > 1)
        raise TagformerError(f"{file}: two images have the source_id '{duplicate}': ids must be unique.")
    return Strings(ids)
