"""Writing COCO: annotations/instances_SPLIT.json and SPLIT/ for the images; instances.json and images/ without splits.

- Only present labels have objects. Where none of their boxes are known, the whole image is the box; in a data set with
  boxes or sizes such an object is a crowd, since only a crowd gives a label without box or size.
- An object's area is the area of its box, limited to the size (small, medium or large) that the data set gives it, so
  that objects keep their sizes when images are made smaller.
- COCO's ids are whole numbers. Where an id of the split is not, images are numbered from 1 and ids go to ``source_id``.
- COCO has no unknown labels: the ids of their categories go to the image's ``unknown_category_ids``.
- Groups, extra labels, and what is not known go to ``tagformer``, since COCO has no place for them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tagformer.data.dataset import NO_SIZE, Record
from tagformer.data.formats._common.writer import Item, Job, Part, Staged, TextPart, Writer
from tagformer.data.formats.coco.sizes import AREA_LIMITS
from tagformer.images.encoding import Prepared
from tagformer.labels.space import PRESENT, UNKNOWN

UNSPLIT = "instances.json"  # of data without splits
NUMBER = re.compile("0|[1-9][0-9]{0,17}")
Corners = tuple[float, float, float, float]


class CocoWriter(Writer):
    """Writes COCO's instances; see the module's text.

    >>> CocoWriter.files("train"), CocoWriter.image_folder("train")
    (('annotations/instances_train.json',), 'train')
    """

    prefixes_ids: ClassVar[bool] = False
    sidecar: ClassVar[str | None] = None

    def __init__(self, job: Job, part_bytes: int) -> None:
        super().__init__(job, part_bytes)
        self._columns = {name: column for column, name in enumerate(job.label_space.names)}
        self._numbered = {
            split: all(NUMBER.fullmatch(image_id) for image_id in dataset.ids)
            for split, dataset in job.datasets.items()
        }

    @classmethod
    def files(cls, split: str) -> tuple[str, ...]:
        return (UNSPLIT if split == "all" else f"annotations/instances_{split}.json",)

    @classmethod
    def image_folder(cls, split: str) -> str:
        return "images" if split == "all" else split

    def root(self, split: str) -> Path:
        return self.job.target if split == "all" else self.job.target / split

    def open(self, file: Path, split: str) -> Part:
        return TextPart(file, lambda item: self._line(item, split))

    def _line(self, item: Item, split: str) -> str:
        """The image's entry, and the entries of its objects without their ids."""
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
        sizes = None if record.sizes is None else record.sizes.tolist()
        objects = self._located(record, sizes)
        areas = [_area(corners, image) for _, corners, _ in objects]
        largest: dict[int, float] = {}
        for area, (column, _, _) in zip(areas, objects, strict=True):
            largest[column] = max(area, largest.get(column, -math.inf))
        for area, (column, corners, crowd) in zip(areas, objects, strict=True):
            least, most = AREA_LIMITS.get(NO_SIZE if sizes is None else sizes[column], (0.0, math.inf))
            area = max(area, least) if area == largest[column] else area
            left, top, right, bottom = corners
            x, y = left * image.width, top * image.height
            width, height = (right - left) * image.width, (bottom - top) * image.height
            yield {
                "category_id": column + 1,
                "bbox": [round(value, 3) for value in (x, y, width, height)],
                "area": round(min(area, most), 3),
                "iscrowd": crowd,
            }

    def _located(self, record: Record, sizes: Sequence[int] | None) -> list[tuple[int, Corners, int]]:
        """Column, box and crowd flag of each object: the boxes of present labels, then a whole image for the others."""
        states = record.labels.tolist()
        boxes = [(self._columns.get(box.label), box.corners) for box in record.boxes or ()]
        objects = [(column, box, 0) for column, box in boxes if column is not None and states[column] == PRESENT]
        with_box = {column for column, _, _ in objects}
        for column, state in enumerate(states):
            if state == PRESENT and column not in with_box:
                crowd = record.boxes is not None if sizes is None else sizes[column] == NO_SIZE
                objects.append((column, (0.0, 0.0, 1.0, 1.0), int(crowd)))
        return objects

    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        target = self.job.target / self.files(split)[0]
        with staged(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            stream.write('{"info": {"description": "written by Tagformer"}, "licenses": [],\n"tagformer": ')
            stream.write(json.dumps(self._extras(split), ensure_ascii=False) + ',\n"categories": ')
            stream.write(json.dumps(self._categories(), ensure_ascii=False) + ',\n"images": [')
            for number, (entry, _) in enumerate(_read_lines(parts)):
                stream.write((",\n" if number else "\n") + json.dumps(entry, ensure_ascii=False))
            stream.write('],\n"annotations": [')
            annotations = ((entry["id"], item) for entry, objects in _read_lines(parts) for item in objects)
            for number, (image_id, item) in enumerate(annotations, start=1):
                stream.write(",\n" if number > 1 else "\n")
                stream.write(json.dumps({"id": number, "image_id": image_id, **item}))
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


def _area(corners: Corners, image: Prepared) -> float:
    left, top, right, bottom = corners
    return (right - left) * image.width * (bottom - top) * image.height


def _read_lines(parts: Sequence[Path]) -> Iterator[Any]:
    for part in parts:
        with part.open(encoding="utf-8", newline="\n") as stream:
            for line in stream:
                yield json.loads(line)
