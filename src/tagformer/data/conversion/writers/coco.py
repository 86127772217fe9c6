"""COCO: annotations/instances_SPLIT.json, with the split's images in SPLIT/; instances.json and images/ without splits.

- Only labels that are present have objects. Where none of their boxes are known, the whole image is the box; in a data
  set with boxes or sizes that is a crowd, as only those have a label but neither box nor size.
- An object's area is that of its box, as far as the size (small, medium or large) that the data set says allows it:
  an image that was made smaller keeps the sizes of its objects.
- COCO's ids are whole numbers. Where an id of the split is none, images are numbered from 1 on and the id stands under
  ``source_id``.
- COCO knows no unknown labels: the ids of their categories stand under the image's ``unknown_category_ids``.
- What else the format has no place for stands under ``tagformer``: groups, extra labels, and what is not known.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tagformer.data.conversion.writers.base import Item, Job, Part, Staged, TextPart, Writer
from tagformer.data.dataset import LARGE, MEDIUM, NO_SIZE, SMALL, Record
from tagformer.data.formats.coco import MEDIUM_AREA, SMALL_AREA
from tagformer.images.encoding import Prepared
from tagformer.labels.space import PRESENT, UNKNOWN

AREAS = {  # least and largest area of a size
    SMALL: (0.0, SMALL_AREA - 1.0),
    MEDIUM: (float(SMALL_AREA), MEDIUM_AREA - 1.0),
    LARGE: (float(MEDIUM_AREA), math.inf),
}
NUMBER = re.compile("0|[1-9][0-9]{0,17}")


class CocoWriter(Writer):
    """See the module's text."""

    prefixed: ClassVar[bool] = False

    def __init__(self, job: Job, part_bytes: int) -> None:
        super().__init__(job, part_bytes)
        self._columns = {name: column for column, name in enumerate(job.label_space.names)}
        self._numbered = {
            split: all(NUMBER.fullmatch(image_id) for image_id in dataset.ids)
            for split, dataset in job.datasets.items()
        }

    def folder(self, split: str) -> Path:
        return self.job.target / ("images" if split == "all" else split)

    def root(self, split: str) -> Path:
        return self.job.target if split == "all" else self.job.target / split

    def sidecar(self) -> tuple[str, Any] | None:
        return None

    def open(self, file: Path, split: str) -> Part:
        return TextPart(file, lambda item: self._line(item, split))

    def _line(self, item: Item, split: str) -> str:
        """The image's entry, and those of its objects without their ids."""
        numbered = self._numbered[split]
        unknown = [column + 1 for column, state in enumerate(item.record.labels.tolist()) if state == UNKNOWN]
        entry: dict[str, Any] = {
            "id": int(item.id) if numbered else item.row + 1,
            "file_name": self.path(item.image, split),
            "width": item.image.width,
            "height": item.image.height,
        }
        entry |= {} if numbered else {"source_id": item.id}
        entry |= {"unknown_category_ids": unknown} if unknown else {}
        return json.dumps([entry, list(self._objects(item.record, item.image))], ensure_ascii=False) + "\n"

    def _objects(self, record: Record, image: Prepared) -> Iterator[dict[str, Any]]:
        states = record.labels.tolist()
        sizes = None if record.sizes is None else record.sizes.tolist()
        found = [(self._columns.get(box.label), box.corners) for box in record.boxes or ()]
        boxes = [(column, corners, 0) for column, corners in found if column is not None and states[column] == PRESENT]
        located = {column for column, _, _ in boxes}
        for column, state in enumerate(states):
            if state == PRESENT and column not in located:
                crowd = record.boxes is not None if sizes is None else sizes[column] == NO_SIZE
                boxes.append((column, (0.0, 0.0, 1.0, 1.0), int(crowd)))
        areas = [_area(corners, image) for _, corners, _ in boxes]
        largest = {column: max(a for a, b in zip(areas, boxes, strict=True) if b[0] == column) for column, *_ in boxes}
        for area, (column, (left, top, right, bottom), crowd) in zip(areas, boxes, strict=True):
            least, most = AREAS.get(NO_SIZE if sizes is None else sizes[column], (0.0, math.inf))
            area = max(area, least) if area == largest[column] else area
            x, y = left * image.width, top * image.height
            width, height = (right - left) * image.width, (bottom - top) * image.height
            yield {
                "category_id": column + 1,
                "bbox": [round(value, 3) for value in (x, y, width, height)],
                "area": round(min(area, most), 3),
                "iscrowd": crowd,
            }

    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        file = "instances.json" if split == "all" else f"annotations/instances_{split}.json"
        with staged(self.job.target / file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            stream.write('{"info": {"description": "written by Tagformer"}, "licenses": [],\n"tagformer": ')
            stream.write(json.dumps(self._extras(split), ensure_ascii=False) + ',\n"categories": ')
            stream.write(json.dumps(self._categories(), ensure_ascii=False) + ',\n"images": [')
            for number, (entry, _) in enumerate(_lines(parts)):
                stream.write((",\n" if number else "\n") + json.dumps(entry, ensure_ascii=False))
            stream.write('],\n"annotations": [')
            objects = ((entry["id"], found) for entry, all_found in _lines(parts) for found in all_found)
            for number, (image_id, found) in enumerate(objects, start=1):
                stream.write(",\n" if number > 1 else "\n")
                stream.write(json.dumps({"id": number, "image_id": image_id, **found}))
            stream.write("]}\n")

    def _extras(self, split: str) -> dict[str, Any]:
        dataset, space = self.job.datasets[split], self.job.label_space.to_dict()
        return {
            "groups": space["groups"],
            "extra": space["extra"],
            "exhaustive": self.job.exhaustive,
            "sizes": dataset.size_rows is not None,
            "boxes": dataset.boxes is not None,
        }

    def _categories(self) -> list[dict[str, Any]]:
        space = self.job.label_space
        group_of = {name: group for group, members in space.groups.items() for name in members}
        return [
            {"id": number, "name": name, "supercategory": group_of.get(name, "")}
            for number, name in enumerate(space.names, start=1)
        ]


def _area(corners: tuple[float, float, float, float], image: Prepared) -> float:
    left, top, right, bottom = corners
    return (right - left) * image.width * (bottom - top) * image.height


def _lines(parts: Sequence[Path]) -> Iterator[Any]:
    for part in parts:
        with part.open(encoding="utf-8", newline="\n") as stream:
            for line in stream:
                yield json.loads(line)
