"""Tags written to files, and read by other readers."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from tagformer.answers import TaggedImage, export
from tagformer.answers.xmp import sidecar
from tagformer.data import load_dataset
from tagformer.errors import TagformerError

NAMES = ["cat", "dog", 'a "quoted" name', "comma, name", "Größe 猫", "<&>", "animal/horse"]
STATES = [{"cat": 1, "dog": 0}, {"comma, name": 1, "<&>": 1, "Größe 猫": 0}, {'a "quoted" name': 0}]
RDF, DC = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}", "{http://purl.org/dc/elements/1.1/}"
LR = "{http://ns.adobe.com/lightroom/1.0/}"


@pytest.fixture
def images(tmp_path: Path) -> list[TaggedImage]:
    made = []
    for number, states in enumerate(STATES):
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (20 + number, 10), (number * 40, 9, 9)).save(file)
        made.append(TaggedImage(str(file), states, width=20 + number, height=10))
    return made


def expected(states: list[dict[str, int]]) -> list[list[int]]:
    return [[of_image.get(name, -1) for name in NAMES] for of_image in states]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_answers_are_read_back_as_training_data(images: list[TaggedImage], tmp_path: Path, kind: str) -> None:
    made = export(kind, NAMES, images)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / f"train.{kind}").write_bytes(made.data)
    (folder / "labels.json").write_text(json.dumps({"names": NAMES, "exhaustive": False}))
    dataset = load_dataset(f"{kind}:{folder}", "train")
    assert list(dataset.label_space.names) == NAMES
    assert dataset.labels.tolist() == expected(STATES)
    assert dataset.labels.dtype == torch.int8


def test_coco_has_the_present_labels(images: list[TaggedImage]) -> None:
    content = json.loads(export("coco", NAMES, images).data)
    names = {one["id"]: one["name"] for one in content["categories"]}
    assert list(names.values()) == NAMES
    files = {one["id"]: one for one in content["images"]}
    assert [(one["width"], one["height"]) for one in files.values()] == [(20, 10), (21, 10), (22, 10)]
    found = {(files[one["image_id"]]["file_name"], names[one["category_id"]]) for one in content["annotations"]}
    assert found == {
        (image.path, name) for image, states in zip(images, STATES, strict=True) for name in states if states[name]
    }
    assert content["annotations"][0]["bbox"] == [0, 0, 20, 10]
    assert len({one["id"] for one in content["annotations"]}) == len(content["annotations"])


def test_tasks_of_label_studio() -> None:
    images = [TaggedImage("a.jpg", {"cat": 1, "dog": 0}, {"<&>": 0.75, "cat": 0.9}), TaggedImage("b.jpg", {"dog": 0})]
    tasks = json.loads(export("label-studio", NAMES, images).data)
    about = {"from_name": "tags", "to_name": "image", "type": "choices"}
    assert tasks == [
        {
            "data": {"image": "a.jpg"},
            "annotations": [{"result": [{**about, "value": {"choices": ["cat"]}}]}],
            "predictions": [{"result": [{**about, "value": {"choices": ["cat", "<&>"]}}], "score": 0.75}],
        },
        {"data": {"image": "b.jpg"}, "annotations": [{"result": []}]},
    ]


def test_texts_beside_the_images_stay_in_their_folder() -> None:
    images = [
        TaggedImage("/photos/a.jpg", {"cat": 1, "dog": 0}, {"<&>": 0.7}, place="trip/a.jpg"),
        TaggedImage("/elsewhere/b.jpg", {"cat": 1}, place="../../etc/b.jpg"),
        TaggedImage("C:\\photos\\c.jpg", {"comma, name": 1, "dog": 1}),
        TaggedImage("/other/c.jpg", {}),
    ]
    made = export("txt", NAMES, images)
    with zipfile.ZipFile(io.BytesIO(made.data)) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert texts == {"trip/a.txt": "cat, <&>", "etc/b.txt": "cat", "c.txt": "dog", "3/c.txt": ""}
    assert made.left_out == ("C:\\photos\\c.jpg: 'comma, name' has a comma or a line break.",)


def bags(data: bytes) -> tuple[list[str | None], list[str | None]]:
    root = ElementTree.fromstring(data)
    return tuple(
        [item.text for item in root.findall(f".//{name}/{RDF}Bag/{RDF}li")]
        for name in (f"{DC}subject", f"{LR}hierarchicalSubject")
    )  # type: ignore[return-value]


def test_sidecars() -> None:
    images = [TaggedImage("photo.jpg", dict.fromkeys(NAMES, 1))]
    with zipfile.ZipFile(io.BytesIO(export("xmp", NAMES, images).data)) as archive:
        assert archive.namelist() == ["photo.jpg.xmp"]
        plain, paths = bags(archive.read("photo.jpg.xmp"))
    assert plain == [*NAMES[:-1], "horse"]
    assert paths == [*NAMES[:-1], "animal|horse"]


EXISTING = b"""<?xml version="1.0"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"
  xmlns:dc="http://purl.org/dc/elements/1.1/">
 <dc:title><rdf:Alt><rdf:li xml:lang="x-default">A title</rdf:li></rdf:Alt></dc:title>
 <dc:subject><rdf:Bag><rdf:li>old</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_a_sidecar_that_is_there_keeps_all_else(tmp_path: Path) -> None:
    (tmp_path / "a.jpg.xmp").write_bytes(EXISTING)
    made = export("xmp", NAMES, [TaggedImage(str(tmp_path / "a.jpg"), {"cat": 1})])
    with zipfile.ZipFile(io.BytesIO(made.data)) as archive:
        data = archive.read("a.jpg.xmp")
    assert bags(data) == (["cat"], ["cat"])
    root = ElementTree.fromstring(data)
    description = root.find(f".//{RDF}Description")
    assert description is not None
    assert description.get("{http://ns.adobe.com/xap/1.0/}Rating") == "4"
    assert root.findtext(f".//{DC}title/{RDF}Alt/{RDF}li") == "A title"
    assert (tmp_path / "a.jpg.xmp").read_bytes() == EXISTING


@pytest.mark.parametrize(
    "hostile",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
        b'<!doctype x SYSTEM "file:///etc/passwd"><x/>',
        "<!DOCTYPE x><x/>".encode("utf-16"),
        b"<x>",
        b"",
    ],
)
def test_hostile_sidecars_are_refused(hostile: bytes) -> None:
    with pytest.raises(TagformerError, match="left as it is"):
        sidecar(["cat"], hostile)


def test_five_thousand_labels() -> None:
    names = [f"label {number}" for number in range(5000)]
    states = {name: number % 2 for number, name in enumerate(names)}
    rows = list(csv.reader(io.StringIO(export("csv", names, [TaggedImage("a.jpg", states)]).data.decode())))
    assert dict(zip(rows[0][1:], map(int, rows[1][1:]), strict=True)) == states


def test_an_unknown_format_is_one_sentence() -> None:
    with pytest.raises(TagformerError, match=r"format xpm \(did you mean 'xmp'\?\)"):
        export("xpm", NAMES, [])
