"""COCO: the official instances JSON.

Labels are in the order of the category ids; names are the key. An image has a label where any annotation of that
category, crowds included, lies on it. The size of a label on an image is that of its largest single instance.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from tagformer.data.record import LARGE, MEDIUM, SMALL, Box, MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.files import read_json
from tagformer.labels import PRESENT, LabelSpace

TREE = "annotations/instances_{train,val}{2014,2017}.json, {train,val}{2014,2017}/*.jpg; or one FILE.json"
OPTIONS = {
    "annotated": "only (default): leave out images without an annotation; all: keep them",
    "images": "folder of the images (default: the split's folder beside annotations/)",
}
YEARS = ("2017", "2014")
SMALL_AREA, MEDIUM_AREA = 32**2, 96**2  # square pixels


def splits(path: Path | None, options: dict[str, str]) -> tuple[str, ...]:
    """train and test (COCO's val, on which the papers report); () for a single JSON file."""
    assert path is not None
    if path.is_file():
        return ()
    found = tuple(split for split in ("train", "test") if _annotations(path, split) is not None)
    if not found:
        raise TagformerError(
            f"{path} has no annotations/instances_train2017.json (or val, or 2014): see the COCO layout."
        )
    return found


def load(path: Path | None, split: str, options: dict[str, str]) -> MultiLabelDataset:
    """Load COCO instances; see the module's text.

    Raises:
        TagformerError: no JSON, or a JSON without ``images``, ``annotations`` and ``categories``; an annotation that
            points to an image or category that is not there.
    """
    assert path is not None
    if path.is_file():
        return _load_json(path, Path(options.get("images", path.parent)), options)
    parts = []
    for name in splits(path, options):
        if split in (name, "all"):
            file = _annotations(path, name)
            assert file is not None
            folder = Path(options.get("images", path / file.stem.removeprefix("instances_")))
            parts.append(_load_json(file, folder, options))
    return parts[0] if len(parts) == 1 else _concatenated(path, parts)


def size_class(area: float) -> int:
    """COCO's size of an area in square pixels: 1 small, 2 medium, 3 large."""
    return SMALL if area < SMALL_AREA else MEDIUM if area < MEDIUM_AREA else LARGE


def _annotations(root: Path, split: str) -> Path | None:
    stem = {"train": "train", "test": "val"}[split]
    files = (root / "annotations" / f"instances_{stem}{year}.json" for year in YEARS)
    return next((file for file in files if file.is_file()), None)


def _load_json(file: Path, folder: Path, options: dict[str, str]) -> MultiLabelDataset:
    content = read_json(file)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise TagformerError(f"{file} has no list '{key}': it is not a COCO instances file.")
    try:
        return _convert(content, file, folder, options)
    except KeyError as error:
        raise TagformerError(f"{file}: an entry lacks {error}: it is not a COCO instances file.") from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise TagformerError(f"{file}: an entry is malformed ({error}): it is not a COCO instances file.") from error


def _convert(content: dict[str, Any], file: Path, folder: Path, options: dict[str, str]) -> MultiLabelDataset:
    keep = options.get("annotated", "only")
    if keep not in ("only", "all"):
        raise TagformerError(f"option annotated={keep}: use only or all.")
    categories = sorted(content["categories"], key=lambda category: category["id"])
    label_space = LabelSpace(tuple(category["name"] for category in categories))
    columns = {category["id"]: column for column, category in enumerate(categories)}
    annotated = {annotation["image_id"] for annotation in content["annotations"]}
    images = [image for image in content["images"] if keep == "all" or image["id"] in annotated]
    rows = {image["id"]: row for row, image in enumerate(images)}
    if len(rows) < len(images):
        twice = next(id_ for id_, count in Counter(image["id"] for image in images).items() if count > 1)
        raise TagformerError(f"{file}: two images have the id {twice}: ids must be unique.")
    labels = torch.zeros(len(images), len(label_space), dtype=torch.int8)
    sizes = torch.zeros_like(labels)
    boxes: list[list[Box]] = [[] for _ in images]
    for annotation in content["annotations"]:
        if annotation["category_id"] not in columns:
            raise TagformerError(
                f"{file}: annotation {annotation.get('id')} has no category {annotation['category_id']}."
            )
        if annotation["image_id"] not in rows:
            raise TagformerError(f"{file}: annotation {annotation.get('id')} has no image {annotation['image_id']}.")
        row, column = rows[annotation["image_id"]], columns[annotation["category_id"]]
        labels[row, column] = PRESENT
        if annotation.get("iscrowd", 0):
            continue
        left, top, width, height = annotation["bbox"]
        size = size_class(annotation.get("area", width * height))
        sizes[row, column] = max(int(sizes[row, column]), size)
        across, down = images[row]["width"], images[row]["height"]
        corners = (left / across, top / down, (left + width) / across, (top + height) / down)
        boxes[row].append(Box(label_space.names[column], corners))
    return MultiLabelDataset(
        name=str(file),
        label_space=label_space,
        images=[folder / image["file_name"] for image in images],
        labels=labels,
        ids=[str(image["id"]) for image in images],
        sizes=sizes,
        boxes=[tuple(own) for own in boxes],
        origins=[f"{file}, image {image['id']}" for image in images],
    )


def _concatenated(path: Path, parts: list[MultiLabelDataset]) -> MultiLabelDataset:
    first, second = parts
    if first.label_space != second.label_space:
        raise TagformerError(f"{path}: the categories of the two splits differ.")
    assert first.sizes is not None
    assert second.sizes is not None
    return MultiLabelDataset(
        name=str(path),
        label_space=first.label_space,
        images=[*first.images, *second.images],
        labels=torch.cat([first.labels, second.labels]),
        ids=[*first.ids, *second.ids],
        sizes=torch.cat([first.sizes, second.sizes]),
        boxes=[*(first.boxes or ()), *(second.boxes or ())],
        origins=[*(first.origins or ()), *(second.origins or ())],
    )
