"""COCO's objects: the official instances JSON.

Labels are in the order of the category ids, and are matched by name. Categories of the same name are one label. A
category that no annotation has and that is the supercategory of others is left out. An image has a label where any
annotation of that category, crowds included, is on it. Ids that are text on one side and numbers on the other are
joined where only one entry can be meant.

The size of a label on an image is the size of its largest single instance, so a label with only a crowd has none. Boxes
are fractions of the image. A data set has no sizes where an annotation has no bbox, and no boxes where also an image
with objects has no width or height.

Files that Tagformer wrote contain more than COCO has, which is read too: an image's id under ``source_id`` and its
unknown labels under ``unknown_category_ids``; groups and extra labels, and whether sizes and boxes are known, under
``tagformer``. Such a data set may have the splits train, val and test in instances_{train,val,test}.json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeGuard

from tagformer.data.columns import Files, Strings
from tagformer.data.dataset import NO_SIZE, Box, MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.formats.coco.categories import read_categories, unused_roots
from tagformer.data.formats.coco.json_file import (
    annotation_name,
    by_id,
    checked_annotations,
    concatenate_splits,
    read_lists,
    reported_entries,
    text_of,
)
from tagformer.data.formats.coco.layout import CocoFile, file_alone, find_files, image_folder
from tagformer.data.formats.coco.sizes import size_class
from tagformer.data.formats.coco.writer import CocoWriter
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN, LabelSpace

YEARS = ("2017", "2014")
PROBED = 20  # images by which the folder of a file's images is chosen


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
                "annotations/instances_{train,val}{2014,2017}.json, {train,val}{2014,2017}/*.jpg; or {train,val,test}/ "
                "with one .json and the images in each; or one FILE.json; or what 'tagformer data convert' wrote"
            )
        else:
            self.layout = f"annotations/instances_{{train,val}}{year}.json, {{train,val}}{year}/*.jpg"

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """train and test (COCO's val, on which the papers report), or those in the files' names; () for a single file.

        Raises:
            TagformerError: none of the files exists.
        """
        return tuple(split for split in self._files(path) if split != "all")

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: a file that is not JSON or has no ``images``, ``annotations`` or ``categories``; an entry
                without an id, a name or a file name; an annotation of an image or category that does not exist.
        """
        keep = options.get("annotated")
        if keep not in (None, "only", "all"):
            raise TagformerError(f"option annotated={keep}: use only or all.")
        files = self._files(path)
        splits = {}
        for name, entry in files.items():
            if split in (name, "all"):
                others = [other.file for other_name, other in files.items() if other_name != name]
                splits[name] = _load_file(entry, others, options)
        return concatenate_splits(path, splits)

    def _files(self, path: Path) -> dict[str, CocoFile]:
        """Split -> its instances file; "all" for a single file, and for the only one of a folder without splits."""
        if self.year is None and path.is_file():
            return {"all": file_alone(path)}
        return find_files(path, YEARS if self.year is None else (self.year,), official_only=self.year is not None)


@dataclass(frozen=True)
class _Objects:
    """The objects of the images that are kept.

    Attributes:
        sizes: image id -> column -> size of its largest instance, for the columns of the labels that it has.
        boxes: image id -> its boxes.
        sized: whether every object has a box, so that its size is known.
        located: whether also every image with objects has a width and a height, so that its boxes are fractions.
    """

    sizes: dict[Any, dict[int, int]]
    boxes: dict[Any, list[Box]]
    sized: bool
    located: bool


def _load_file(entry: CocoFile, others: Sequence[Path], options: Mapping[str, str]) -> MultiLabelDataset:
    """Load one file.

    Args:
        others: the files of the other splits, which decide with this one which categories are labels.
    """
    content = _read_content(entry.file)
    with reported_entries(entry.file, "instances"):
        roots = unused_roots(content)
        for other in others if roots else ():
            unused_there = unused_roots(_read_content(other))
            roots = [name for name in roots if name in unused_there]
        return _read_instances(content, entry, options, roots)


def _read_content(file: Path) -> dict[str, Any]:
    return read_lists(file, "instances", "images", "annotations", "categories")


def _read_instances(
    content: Mapping[str, Any], entry: CocoFile, options: Mapping[str, str], roots: Sequence[str]
) -> MultiLabelDataset:
    file, extras = entry.file, content.get("tagformer")
    categories = read_categories(content, file, roots if extras is None else ())
    names, columns = categories.names, categories.columns
    images = by_id(content, "images", file)
    keep_all = options.get("annotated") == "all" or ("annotated" not in options and extras is not None)
    objects = _read_objects(content, file, images, names, columns, keep_all)
    label_space, exhaustive, sized, located = LabelSpace(names), False, objects.sized, objects.located
    if extras is not None:
        label_space, exhaustive = _label_space(names, extras, file), extras.get("exhaustive") is True
        sized, located = sized and extras.get("sizes") is not False, located and extras.get("boxes") is not False
    rows = (_states(present, images[id_], columns, file) for id_, present in objects.sizes.items())
    sizes = ((of_image, NO_SIZE) for of_image in objects.sizes.values())
    paths = [text_of(images[id_], "file_name", "image", file) for id_ in objects.sizes]
    if extras is None:
        paths = [path.replace("\\", "/") for path in paths]
    folder = Path(options["images"]) if "images" in options else image_folder(entry, paths[:PROBED])
    warnings = list(categories.warnings)
    if dropped := len(images) - len(objects.sizes):
        count = "1 image" if dropped == 1 else f"{dropped} images"
        warnings.append(f"{file}: {count} without objects left out; keep such images with ?annotated=all.")
    return MultiLabelDataset(
        name=str(file),
        label_space=label_space,
        images=Files(folder, paths),
        labels=SparseRows.of(rows, len(names)),
        ids=_ids(images, objects.sizes, file),
        sizes=SparseRows.of(sizes, len(names)) if sized else None,
        boxes=[tuple(boxes) for boxes in objects.boxes.values()] if located else None,
        origins=Strings(f"{file}, image {id_}" for id_ in objects.sizes),
        exhaustive=exhaustive,
        warnings=tuple(warnings),
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
    annotations = list(checked_annotations(content, file, images, columns))
    annotated = {image for _, image, _ in annotations}
    sizes: dict[Any, dict[int, int]] = {id_: {} for id_ in images if keep_all or id_ in annotated}
    boxes: dict[Any, list[Box]] = {id_: [] for id_ in sizes}
    sized = located = True
    for number, (annotation, image, category) in enumerate(annotations, 1):
        column = columns[category]
        largest = sizes[image].setdefault(column, NO_SIZE)
        if annotation.get("iscrowd", 0):
            continue
        bbox = _bbox(annotation, number, file)
        if bbox is None:
            sized = located = False
            continue
        left, top, width, height = bbox
        area = annotation.get("area")
        sizes[image][column] = max(largest, size_class(area if _is_number(area) else width * height))
        image_width, image_height = images[image].get("width"), images[image].get("height")
        if _is_number(image_width) and _is_number(image_height) and image_width > 0 and image_height > 0:
            right, bottom = (left + width) / image_width, (top + height) / image_height
            boxes[image].append(Box(names[column], (left / image_width, top / image_height, right, bottom)))
        else:
            located = False
    return _Objects(sizes, boxes, sized, located)


def _bbox(annotation: Mapping[str, Any], number: int, file: Path) -> tuple[float, float, float, float] | None:
    """The box of an annotation; None where it has none, which tagging does not need.

    Raises:
        TagformerError: it is not four numbers.
    """
    bbox = annotation.get("bbox")
    if bbox is None or bbox == []:
        return None
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        raise TagformerError(
            f"{file}: {annotation_name(annotation, number)} has the bbox {bbox!r}: it must be four numbers, or missing."
        )
    left, top, width, height = bbox
    return left, top, width, height


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15


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
