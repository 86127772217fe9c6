"""Writing data sets as CSV, JSON lines, Parquet, COCO's instances or shards, so that our readers read the same again.

A writer takes split -> data set (``all`` for data without splits), a folder, and `images`, which gives the records to
write, each with its image: a path, which is written down and left where it lies, or the encoded image itself. Each file
is written under a temporary name first. Beside them, labels.json holds the label space. What comes back is the path
for the format's reader. Ids that two splits share are preceded by the split: ``train/10``.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tagformer.data.coco import MEDIUM_AREA, SMALL_AREA
from tagformer.data.csv import join_tags
from tagformer.data.jsonl import write_annotation
from tagformer.data.record import LARGE, MEDIUM, NO_SIZE, SMALL, MultiLabelDataset, Record
from tagformer.data.table import TAG_COLUMNS
from tagformer.data.writing import Header, Images, Job, encoded, file_name, header_of, in_place
from tagformer.errors import TagformerError
from tagformer.files import replacing
from tagformer.labels import ABSENT, PRESENT, UNKNOWN, LabelSpace

CELLS = {PRESENT: "1", ABSENT: "0", UNKNOWN: ""}
TOP = {NO_SIZE: math.inf, SMALL: SMALL_AREA - 1, MEDIUM: MEDIUM_AREA - 1, LARGE: math.inf}  # largest area of a size
GROUP_IMAGES, GROUP_BYTES, GROUP_ROWS = 100, 1 << 25, 10_000  # what a Parquet file's readers take at a time
SHARD_BYTES = 1 << 28


def write_csv(
    datasets: Mapping[str, MultiLabelDataset], target: Path, images: Images = in_place, relative: bool = False
) -> Path:
    """Write SPLIT.csv with the columns id, path and tags; or one column a label where tags cannot say everything.

    Args:
        images: see the module's text; encoded images are written to `target`/images.
        relative: write the paths of images outside `target` relative to it too, not absolute.

    Raises:
        TagformerError: a name that a CSV cannot hold; an image that cannot be read.
    """
    job = Job(datasets, target, images, relative)
    names = job.label_space.names
    reserved = () if job.tagged else ("id", "path", "split", *TAG_COLUMNS)
    for name in names:
        if name in reserved or name != name.strip():
            raise TagformerError(f"a CSV cannot hold the label '{name}': write JSON lines or Parquet.")
    for split in datasets:
        with replacing(target / f"{split}.csv") as file, file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["id", "path", *(["tags"] if job.tagged else names)])
            for image_id, record, image in job.records(split):
                labels = record.labels.tolist()
                cells = [CELLS[state] for state in labels]
                if job.tagged:
                    present = [name for name, state in zip(names, labels, strict=True) if state == PRESENT]
                    cells = [join_tags(present) if UNKNOWN not in labels else ""]
                path = job.path(image_id, image)
                if path != path.strip() or image_id != image_id.strip():
                    raise TagformerError(f"a CSV cannot hold the path '{path}' of id '{image_id}': rename the file.")
                writer.writerow([image_id, path, *cells])
    return job.finish("all.csv")


def write_jsonl(
    datasets: Mapping[str, MultiLabelDataset], target: Path, images: Images = in_place, relative: bool = False
) -> Path:
    """Write SPLIT.jsonl; see `write_csv` for the arguments."""
    job = Job(datasets, target, images, relative)
    for split in datasets:
        with replacing(target / f"{split}.jsonl") as file, file.open("w", encoding="utf-8") as stream:
            for image_id, record, image in job.records(split):
                path = job.path(image_id, image)
                own_id = {} if image_id == path else {"id": image_id}
                said = write_annotation(record.labels, job.label_space.names)
                stream.write(json.dumps({**own_id, "path": path, **said}, ensure_ascii=False) + "\n")
    return job.finish("all.jsonl")


def write_parquet(
    datasets: Mapping[str, MultiLabelDataset], target: Path, images: Images = in_place, relative: bool = False
) -> Path:
    """Write SPLIT.parquet; where the first image of a split is encoded, all of its images are stored in the file.

    See `write_csv` for the arguments.
    """
    job = Job(datasets, target, images, relative)
    lists = ("tags",) if job.tagged else ("tags", "present", "absent", "unknown")
    for split in datasets:
        records = job.records(split)
        first = list(itertools.islice(records, 1))
        stored = bool(first) and isinstance(first[0][2], bytes)
        schema = _schema(stored, lists)
        repeating = [f"{name}.list.element" for name in lists]
        with (
            replacing(target / f"{split}.parquet") as file,
            pq.ParquetWriter(file, schema, use_dictionary=repeating) as writer,
        ):
            rows: list[dict[str, Any]] = []
            held = 0
            for image_id, record, image in itertools.chain(first, records):
                row: dict[str, Any] = {"id": image_id, **write_annotation(record.labels, job.label_space.names)}
                if stored:
                    data = encoded(image)
                    row["image"] = {"bytes": data, "path": file_name(image_id, header_of(data, image_id).extension)}
                    held += len(data)
                else:
                    row["path"] = job.path(image_id, image)
                rows.append(row)
                if held > GROUP_BYTES or len(rows) == (GROUP_IMAGES if stored else GROUP_ROWS):
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    rows, held = [], 0
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
    return job.finish("all.parquet")


def _schema(stored: bool, lists: Iterable[str]) -> pa.Schema:
    """The columns, with what Hugging Face's library needs to know that the images are images."""
    text, image = pa.string(), pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = {"id": text, **({"image": image} if stored else {"path": text}), **dict.fromkeys(lists, pa.list_(text))}
    value: dict[str, Any] = {"dtype": "string", "_type": "Value"}
    features = dict.fromkeys(fields, value) | {name: {"feature": value, "_type": "Sequence"} for name in lists}
    features |= {"image": {"_type": "Image"}} if stored else {}
    return pa.schema(list(fields.items()), {"huggingface": json.dumps({"info": {"features": features}})})


def write_coco(
    datasets: Mapping[str, MultiLabelDataset], target: Path, images: Images = in_place, relative: bool = False
) -> Path:
    """Write annotations/instances_SPLIT.json; encoded images go to `target`/SPLIT, to which paths are relative.

    Without splits the file is instances.json, and encoded images go to `target`/images.

    A label without boxes on its image gets the whole image as its box; in a data set with boxes it is a crowd, as only
    those have a label but no box. COCO's ids are whole numbers: where an id of the split is none, images are numbered
    from 1 on and the id stands under ``source_id``. COCO knows no unknown labels: the ids of their categories stand
    under the image's ``unknown_category_ids``. A category's ``supercategory`` is its group.
    """
    job = Job(datasets, target, images, relative)
    space = job.label_space
    group_of = {name: group for group, members in space.groups.items() for name in members}
    categories = [
        {"id": number, "name": name, "supercategory": group_of.get(name, "")}
        for number, name in enumerate(space.names, start=1)
    ]
    for split, dataset in datasets.items():
        folder, file = (split, f"annotations/instances_{split}.json") if split != "all" else ("", "instances.json")
        numeric = all(re.fullmatch("0|[1-9][0-9]{0,17}", image_id) for image_id in dataset.ids)
        with (
            replacing(target / file) as temporary,
            temporary.open("w", encoding="utf-8") as stream,
            tempfile.TemporaryFile("w+", encoding="utf-8") as later,
        ):
            stream.write('{"info": {"description": "written by Tagformer"}, "licenses": [],\n"categories": ')
            stream.write(json.dumps(categories, ensure_ascii=False) + ',\n"images": [')
            annotations = 0
            for number, (image_id, record, image) in enumerate(job.records(split, shared=True), start=1):
                header = header_of(image, image_id)
                entry = {
                    "id": int(image_id) if numeric else number,
                    "file_name": job.path(image_id, image, folder),
                    "width": header.width,
                    "height": header.height,
                }
                unknown = [column + 1 for column, state in enumerate(record.labels.tolist()) if state == UNKNOWN]
                entry |= {} if numeric else {"source_id": image_id}
                entry |= {"unknown_category_ids": unknown} if unknown else {}
                stream.write((",\n" if number > 1 else "\n") + json.dumps(entry, ensure_ascii=False))
                for annotation in _annotations(record, space, header):
                    annotations += 1
                    later.write(",\n" if annotations > 1 else "\n")
                    later.write(json.dumps({"id": annotations, "image_id": entry["id"], **annotation}))
            stream.write('],\n"annotations": [')
            later.seek(0)
            shutil.copyfileobj(later, stream)
            stream.write("]}\n")
    return job.finish("instances.json")


def _annotations(record: Record, space: LabelSpace, header: Header) -> Iterator[dict[str, Any]]:
    """The objects of an image, without their ids."""
    for column, state in enumerate(record.labels.tolist()):
        if state != PRESENT:
            continue
        boxes = [box.corners for box in record.boxes or () if box.label == space.names[column]]
        largest = TOP[int(record.sizes[column])] if record.sizes is not None else math.inf
        for left, top, right, bottom in boxes or [(0, 0, 1, 1)]:
            x, y = left * header.width, top * header.height
            width, height = (right - left) * header.width, (bottom - top) * header.height
            yield {
                "category_id": column + 1,
                "bbox": [round(value, 3) for value in (x, y, width, height)],
                "area": round(min(width * height, largest), 3),
                "iscrowd": int(record.boxes is not None and not boxes),
            }


def write_shards(
    datasets: Mapping[str, MultiLabelDataset], target: Path, images: Images = in_place, shard_bytes: int = SHARD_BYTES
) -> Path:
    """Write SPLIT-000000.tar and so on, for WebDataset too; of an earlier, longer set the last shards are removed.

    Args:
        images: see the module's text; files are read, so that every image is in a shard.
        shard_bytes: a shard is ended as soon as it is as large as this.

    Raises:
        BadImageError: an image cannot be read.
    """
    job = Job(datasets, target, images)
    for split in datasets:
        samples = enumerate(job.records(split))
        sample = next(samples, None)
        shards = itertools.count()
        while sample is not None:
            with (
                replacing(target / f"{split}-{next(shards):06d}.tar") as file,
                tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as tar,
            ):
                while sample is not None and tar.offset < shard_bytes:
                    number, (image_id, record, image) = sample
                    data = encoded(image)
                    said = {"id": image_id, **write_annotation(record.labels, job.label_space.names)}
                    _add(tar, f"{number:09d}{header_of(data, image_id).extension}", data)
                    _add(tar, f"{number:09d}.json", json.dumps(said, ensure_ascii=False).encode())
                    sample = next(samples, None)
        for number in shards:
            stale = target / f"{split}-{number:06d}.tar"
            if not stale.exists():
                break
            stale.unlink()
    return job.finish("")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
