"""Tags as files that other tools and trainings read."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tagformer.answers.xmp import sidecar
from tagformer.errors import check_choice
from tagformer.labels.space import ABSENT, PRESENT


@dataclass(frozen=True)
class TaggedImage:
    """The tags of one image.

    Attributes:
        path: of its file, or its id where it is none.
        states: label -> 1 or 0, what a person answered.
        predicted: label -> probability, what the model predicts where nobody answered.
        width, height: in pixels; 0: not known.
        place: the path below the folder of all images, for files beside the images; empty: the end of `path`.
    """

    path: str
    states: Mapping[str, int]
    predicted: Mapping[str, float] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    place: str = ""

    @property
    def present(self) -> list[str]:
        """All labels that are present, the answered ones first.

        >>> TaggedImage("a.jpg", {"dog": 1, "cat": 0}, {"sea": 0.8}).present
        ['dog', 'sea']
        """
        answered = [name for name, state in self.states.items() if state == PRESENT]
        return [*answered, *(name for name in self.predicted if name not in self.states)]


@dataclass(frozen=True)
class Exported:
    """A file to download.

    Attributes:
        name: of the file.
        media_type: of its content.
        data: its content.
        left_out: names that the format cannot hold, one sentence each.

    >>> from tagformer.answers import Exported
    >>> Exported("tags.csv", "text/csv", b"path").left_out
    ()
    """

    name: str
    media_type: str
    data: bytes
    left_out: tuple[str, ...] = ()


def export(format_name: str, labels: Sequence[str], images: Iterable[TaggedImage]) -> Exported:
    """Tags in one of the `FORMATS`.

    Raises:
        TagformerError: another format.

    >>> from tagformer.answers import TaggedImage, export
    >>> export("csv", ["cat", "dog"], [TaggedImage("a.jpg", {"dog": 1})]).data.decode()
    'path,cat,dog\\na.jpg,,1\\n'
    """
    check_choice("format", format_name, FORMATS)
    return FORMATS[format_name](labels, list(images))


def _csv(labels: Sequence[str], images: Sequence[TaggedImage]) -> Exported:
    """A column per label, as docs/data.md describes it: 1, 0, or empty where the state is unknown."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", *labels])
    for image in images:
        states = {**dict.fromkeys(image.predicted, PRESENT), **image.states}
        table.writerow([image.path, *(states.get(name, "") for name in labels)])
    return Exported("tags.csv", "text/csv", text.getvalue().encode())


def _jsonl(labels: Sequence[str], images: Sequence[TaggedImage]) -> Exported:
    """An object per image with its present and its absent labels; all others are unknown."""
    lines = []
    for image in images:
        absent = [name for name, state in image.states.items() if state == ABSENT]
        lines.append(json.dumps({"path": image.path, "present": image.present, "absent": absent}, ensure_ascii=False))
    return Exported("tags.jsonl", "application/jsonl", "".join(line + "\n" for line in lines).encode())


def _coco(labels: Sequence[str], images: Sequence[TaggedImage]) -> Exported:
    """COCO's JSON: an annotation with the whole image as its box for each present label; absent ones are not kept."""
    numbers = {name: number for number, name in enumerate(labels, 1)}
    content: dict[str, list[dict[str, Any]]] = {
        "images": [
            {"id": number, "file_name": image.path, "width": image.width, "height": image.height}
            for number, image in enumerate(images, 1)
        ],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "annotations": [],
    }
    for number, image in enumerate(images, 1):
        for name in image.present:
            box = {"bbox": [0, 0, image.width, image.height], "area": image.width * image.height, "iscrowd": 0}
            about = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": numbers[name]}
            content["annotations"].append({**about, **box})
    return Exported("tags.json", "application/json", json.dumps(content, ensure_ascii=False).encode())


def _label_studio(labels: Sequence[str], images: Sequence[TaggedImage]) -> Exported:
    """Tasks with Choices named "tags" of an Image named "image": answers as annotations, the rest as predictions."""

    def result(names: Sequence[str]) -> list[dict[str, Any]]:
        value = {"choices": list(names)}
        return [{"from_name": "tags", "to_name": "image", "type": "choices", "value": value}] if names else []

    tasks = []
    for image in images:
        answered = [name for name, state in image.states.items() if state == PRESENT]
        task: dict[str, Any] = {"data": {"image": image.path}}
        if image.states:
            task["annotations"] = [{"result": result(answered)}]
        if image.predicted:
            score = min(image.predicted.values())
            task["predictions"] = [{"result": result(image.present), "score": round(score, 4)}]
        tasks.append(task)
    return Exported("tasks.json", "application/json", json.dumps(tasks, ensure_ascii=False).encode())


def _txt(labels: Sequence[str], images: Sequence[TaggedImage]) -> Exported:
    """A text beside each image, ``photo.txt`` for ``photo.jpg``, with the names separated by commas."""
    left_out: list[str] = []

    def text(image: TaggedImage) -> bytes:
        wrong = [name for name in image.present if "," in name or "\n" in name]
        left_out.extend(f"{image.path}: '{name}' has a comma or a line break." for name in wrong)
        return ", ".join(name for name in image.present if name not in wrong).encode()

    data = _zipped(images, text, lambda path: str(PurePosixPath(path).with_suffix(".txt")))
    return Exported("tags-txt.zip", "application/zip", data, tuple(left_out))


def _xmp(labels: Sequence[str], images: Sequence[TaggedImage]) -> Exported:
    """A sidecar beside each image, ``photo.jpg.xmp``; one that is there already keeps what else it has."""
    left_out: list[str] = []

    def text(image: TaggedImage) -> bytes:
        there = Path(f"{image.path}.xmp")
        return sidecar(image.present, there.read_bytes() if there.is_file() else None)

    return Exported(
        "tags-xmp.zip", "application/zip", _zipped(images, text, lambda path: f"{path}.xmp"), tuple(left_out)
    )


def _zipped(images: Sequence[TaggedImage], text: Callable[[TaggedImage], bytes], name: Callable[[str], str]) -> bytes:
    """A zip with one file per image; where two would have the same name, one lies in a folder."""
    buffer = io.BytesIO()
    taken: set[str] = set()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for image in images:
            place = member = name(_inside(image.place or image.path.replace("\\", "/").rpartition("/")[2]))
            while member in taken:
                member = f"{len(taken)}/{place}"
            taken.add(member)
            archive.writestr(member, text(image))
    return buffer.getvalue()


def _inside(place: str) -> str:
    """A relative path that stays in the folder where the zip is unpacked.

    >>> _inside("/a/../b.jpg"), _inside("..")
    ('a/b.jpg', 'image')
    """
    parts = [part for part in place.replace("\\", "/").split("/") if part.strip(". ")]
    return "/".join(part.replace(":", "_") for part in parts) or "image"


FORMATS: Mapping[str, Callable[[Sequence[str], Sequence[TaggedImage]], Exported]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "coco": _coco,
    "label-studio": _label_studio,
    "txt": _txt,
    "xmp": _xmp,
}
