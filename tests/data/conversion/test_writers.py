"""Every format that can be written gives back what went into it."""

from __future__ import annotations

import csv
import json
import tarfile
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tagformer.data import MultiLabelDataset, convert, load_dataset, write_dataset
from tagformer.data.dataset import Box
from tagformer.data.registry import FORMATS as ALL_FORMATS
from tagformer.data.registry import Spec
from tagformer.errors import TagformerError
from tagformer.images.encoding import file_name
from tagformer.images.reading import load_image
from tagformer.labels import LabelSpace
from tests.stored_pictures import SIDE, assert_shows, png

FORMATS = tuple(name for name, entry in ALL_FORMATS.items() if entry.writer is not None)
SPACE = LabelSpace(
    ("zebra", "ant; big", "back\\slash", 'say "cat"', "Bär, braun", "never"),
    groups={"second": ("zebra", "Bär, braun"), "first": ("ant; big",)},
    extra=("never", "ant; big"),
)
PARTLY = [
    [1, 0, 1, 0, 0, 0],
    [0, 0, 0, 0, 0, 0],
    [-1, -1, -1, -1, -1, -1],
    [1, 1, 0, -1, 0, 0],
    [-1, -1, 0, 1, -1, -1],
    [-1, -1, -1, -1, -1, 0],
]
TAGGED = [*PARTLY[:3], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]]


def pictures(folder: Path, count: int = 6) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number}.png" for number in range(count)]
    for number, file in enumerate(files):
        file.write_bytes(png(number))
    return files


def dataset(folder: Path, states: list[list[int]] = PARTLY, ids: list[str] | None = None, **more: Any) -> Any:
    files = pictures(folder / "pictures", len(states))
    labels = torch.tensor(states, dtype=torch.int8)
    own = {"label_space": SPACE, "ids": ids or [f"id {number}" for number in range(len(states))], **more}
    return MultiLabelDataset("mine", images=files, labels=labels, **own)


def splits_of(spec: str) -> dict[str, MultiLabelDataset]:
    return {split: load_dataset(spec, split) for split in Spec.parse(spec).splits or ("all",)}


def assert_same(found: dict[str, MultiLabelDataset], expected: dict[str, MultiLabelDataset]) -> None:
    """Splits, label space, ids, order and states are the same; sizes and boxes where both know them."""
    assert list(found) == list(expected)
    for split, own in found.items():
        other = expected[split]
        assert own.label_space == other.label_space
        assert list(own.label_space.groups) == list(other.label_space.groups)
        assert list(own.ids) == list(other.ids)
        assert own.labels.tolist() == other.labels.tolist()
        assert own.exhaustive == other.exhaustive
        if own.sizes is not None and other.sizes is not None:
            present = other.labels == 1
            assert torch.equal(own.sizes[present], other.sizes[present])
        if own.boxes is not None and other.boxes is not None:
            for boxes, others in zip(own.boxes, other.boxes, strict=True):
                assert [box.label for box in boxes] == [box.label for box in others]
                for box, another in zip(boxes, others, strict=True):
                    assert box.corners == pytest.approx(another.corners, abs=0.001)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("states", [PARTLY, TAGGED], ids=["partly known", "tags"])
@pytest.mark.parametrize("exhaustive", [False, True])
def test_what_is_written_is_read_again(tmp_path: Path, form: str, states: list[list[int]], exhaustive: bool) -> None:
    own = dataset(tmp_path, states, exhaustive=exhaustive)
    parts = {"train": own.subset([3, 0, 1]), "val": own.subset([4]), "test": own.subset([5, 2])}
    written = write_dataset(parts, f"{form}:{tmp_path / 'out'}")
    assert written.images == {"train": 3, "val": 1, "test": 2}
    assert written.left_out == ()
    assert_same(splits_of(written.spec), parts)
    assert_shows(load_dataset(written.spec, "train"), [3, 0, 1])
    assert_shows(load_dataset(written.spec, "all"), [3, 0, 1, 4, 5, 2])


@pytest.mark.parametrize("form", FORMATS)
def test_data_without_splits_stay_without(tmp_path: Path, form: str) -> None:
    own = dataset(tmp_path)
    written = write_dataset({"all": own}, f"{form}:{tmp_path / 'out'}")
    assert Spec.parse(written.spec).splits == ()
    assert_same({"all": load_dataset(written.spec, "all")}, {"all": own})
    assert_shows(load_dataset(written.spec, "all"), range(6))


@pytest.mark.parametrize(("first", "second"), list(product(FORMATS, FORMATS)))
def test_there_and_back_is_the_identity(tmp_path: Path, first: str, second: str) -> None:
    own = dataset(tmp_path)
    parts = {"train": own.subset(range(4)), "test": own.subset([5, 4])}
    a = write_dataset(parts, f"{first}:{tmp_path / 'a'}", part_bytes=2000).spec
    b = convert(a, f"{second}:{tmp_path / 'b'}", part_bytes=3000).spec
    back = convert(b, f"{first}:{tmp_path / 'c'}", part_bytes=2000).spec
    assert_same(splits_of(b), parts)
    assert_same(splits_of(back), parts)
    assert_shows(load_dataset(back, "all"), [0, 1, 2, 3, 5, 4])


@pytest.mark.parametrize("form", FORMATS)
def test_scenes_are_written_with_sizes_and_boxes_where_the_format_knows_them(tmp_path: Path, form: str) -> None:
    spec = "scenes?images=12&seed=3"
    written = convert(spec, f"{form}:{tmp_path / 'out'}")
    scenes, found = splits_of(spec), splits_of(written.spec)
    assert_same(found, scenes)
    for split, own in found.items():
        assert (own.sizes is not None) == (own.boxes is not None) == (form == "coco")
        for image, scene in zip(own.images, scenes[split].images, strict=True):
            content = image.read_bytes() if isinstance(image, Path) else image.read()  # type: ignore[union-attr]
            assert content.startswith(b"\x89PNG")
            assert load_image(image).tobytes() == scene.render().tobytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("form", FORMATS)
def test_folders_of_images_are_written(tmp_path: Path, form: str) -> None:
    for number, name in enumerate(("train/dog/a", "train/cat/a", "train/cat/sub/a", "test/ant/a")):
        file = tmp_path / "tree" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(number))
    spec = f"imagefolder:{tmp_path / 'tree'}"
    written = convert(spec, f"{form}:{tmp_path / 'out'}")
    assert_same(splits_of(written.spec), splits_of(spec))


VOC = """<annotation><size><width>12</width><height>12</height></size>
<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>12</ymax></bndbox>
</object></annotation>"""


@pytest.mark.parametrize("form", FORMATS)
def test_voc_with_its_difficult_objects_is_written(tmp_path: Path, form: str) -> None:
    root = tmp_path / "VOC2007"
    for folder in ("ImageSets/Main", "JPEGImages", "Annotations"):
        (root / folder).mkdir(parents=True)
    for number, (name, difficult) in enumerate((("dog", 0), ("cat", 1), ("person", 0))):
        (root / "JPEGImages" / f"00000{number}.jpg").write_bytes(png(number))
        (root / "Annotations" / f"00000{number}.xml").write_text(VOC.format(name, difficult))
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("000000\n000001\n")
    (root / "ImageSets" / "Main" / "test.txt").write_text("000002\n")
    spec = f"voc2007:{root}"
    assert (load_dataset(spec, "train").labels == -1).sum() == 1
    written = convert(spec, f"{form}:{tmp_path / 'out'}")
    found, expected = splits_of(written.spec), splits_of(spec)
    if form == "coco":  # a difficult object has a box, but its label is not known to be present
        rows = {"train": [0], "test": [0]}
        assert_same(
            {s: d.subset(rows[s]) for s, d in found.items()}, {s: d.subset(rows[s]) for s, d in expected.items()}
        )
        assert found["train"].labels.tolist() == expected["train"].labels.tolist()
        assert found["test"].sizes is not None
        assert found["test"].sizes.max() == 1
    else:
        assert_same(found, expected)


@pytest.mark.parametrize("form", FORMATS)
def test_many_groups_with_extra_labels_are_written_as_of_birds(tmp_path: Path, form: str) -> None:
    names = tuple(f"has_{part}::{shade}" for part in range(20) for shade in ("red", "blue", "none"))
    groups = {f"has_{part}": names[3 * part : 3 * part + 3] for part in range(20)}
    kinds = ("Albatross", "Auk")
    space = LabelSpace((*kinds, *names), {"class": kinds, **groups}, extra=names)
    states = torch.randint(-1, 2, (6, len(space)), generator=torch.Generator().manual_seed(0)).tolist()
    own = dataset(tmp_path, states, label_space=space, ids=["7", "10", "2", "33", "4", "100"])
    parts = {"train": own.subset([0, 1, 2, 3]), "test": own.subset([4, 5])}
    written = write_dataset(parts, f"{form}:{tmp_path / 'out'}")
    assert_same(splits_of(written.spec), parts)


@pytest.mark.parametrize("form", FORMATS)
def test_ids_that_two_splits_share_are_kept_apart(tmp_path: Path, form: str) -> None:
    own = dataset(tmp_path, ids=["1", "2", "3", "4", "5", "6"])
    test = own.subset([2, 3]).replace(ids=["1", "2"])
    written = write_dataset({"train": own.subset([0, 1]), "test": test}, f"{form}:{tmp_path / 'out'}", size=20)
    found = load_dataset(written.spec, "all")
    assert list(found.ids) == ["train/1", "train/2", "test/1", "test/2"]
    assert found.labels.tolist() == [PARTLY[row] for row in (0, 1, 2, 3)]
    assert len({str(image) for image in found.images}) == 4
    assert list(load_dataset(written.spec, "test").ids) == (["1", "2"] if form == "coco" else ["test/1", "test/2"])


@pytest.mark.parametrize("form", ["csv", "jsonl", "coco"])
def test_images_lie_where_they_were(tmp_path: Path, form: str) -> None:
    own = dataset(tmp_path)
    written = write_dataset({"train": own}, f"{form}:{tmp_path / 'out'}")
    assert [Path(image) for image in load_dataset(written.spec, "train").images] == own.images  # type: ignore[arg-type]
    assert not list((tmp_path / "out").rglob("*.png"))


@pytest.mark.parametrize("form", ["csv", "jsonl", "coco"])
def test_a_folder_with_images_of_its_own_can_be_moved(tmp_path: Path, form: str) -> None:
    shards = write_dataset({"train": dataset(tmp_path)}, f"shards:{tmp_path / 'shards'}").spec
    convert(shards, f"{form}:{tmp_path / 'out'}")
    (tmp_path / "out").rename(tmp_path / "moved")
    assert_shows(load_dataset(f"{form}:{tmp_path / 'moved'}", "train"), range(6))


@pytest.mark.parametrize("form", FORMATS)
def test_several_parts_are_one_data_set(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagformer.data.formats._common.writer.PART_ROWS", 2)
    own = dataset(tmp_path)
    written = write_dataset({"all": own}, f"{form}:{tmp_path / 'out'}", part_bytes=900)
    assert_same({"all": load_dataset(written.spec, "all")}, {"all": own})
    files = sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix in (".tar", ".parquet"))
    if form == "parquet":
        assert files == [f"all-{number:05d}-of-00003.parquet" for number in range(3)]
    elif form == "shards":
        assert files == [f"all-{number:06d}.tar" for number in range(len(files))]
        assert len(files) > 1


# Read by others


def test_coco_is_what_coco_says(tmp_path: Path) -> None:
    """Read with nothing but JSON: ids, categories, boxes in pixels, crowds."""
    space = LabelSpace(("cat", "dog", "night"), groups={"animal": ("cat", "dog")})
    own = dataset(
        tmp_path,
        [[1, 1, 1], [0, -1, 0]],
        label_space=space,
        sizes=torch.tensor([[3, 1, 0], [0, 0, 0]], dtype=torch.int8),
        boxes=[
            (Box("dog", (0.5, 0.25, 1.0, 0.75)), Box("cat", (0.0, 0.0, 0.5, 0.5)), Box("dog", (0, 0, 0.1, 0.1))),
            (),
        ],
        ids=["a", "b"],
    )
    write_dataset({"train": own}, f"coco:{tmp_path / 'out'}")
    content = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text(encoding="utf-8"))
    assert [(entry["id"], entry["name"], entry["supercategory"]) for entry in content["categories"]] == [
        (1, "cat", "animal"),
        (2, "dog", "animal"),
        (3, "night", ""),
    ]
    first, second = content["images"]
    assert (first["id"], first["source_id"], first["width"], first["height"]) == (1, "a", SIDE, SIDE)
    assert first["file_name"] == str(own.images[0])
    assert (second["id"], second["unknown_category_ids"]) == (2, [2])
    assert "unknown_category_ids" not in first
    found = [(entry["category_id"], entry["bbox"], entry["iscrowd"]) for entry in content["annotations"]]
    assert found == [
        (2, [6.0, 3.0, 6.0, 6.0], 0),
        (1, [0.0, 0.0, 6.0, 6.0], 0),
        (2, [0.0, 0.0, 1.2, 1.2], 0),
        (3, [0.0, 0.0, 12.0, 12.0], 1),
    ]
    assert [entry["area"] for entry in content["annotations"]][:3] == [36.0, 9216.0, 1.44]  # the cat is large
    assert [entry["id"] for entry in content["annotations"]] == [1, 2, 3, 4]
    assert {entry["image_id"] for entry in content["annotations"]} == {1}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("side", [10, 50, 200])
def test_a_size_is_kept_whatever_the_box_says(tmp_path: Path, size: int, side: int) -> None:
    """As of COCO's outlines, whose area is less than their box's."""
    file = tmp_path / "a.png"
    Image.new("RGB", (side, side)).save(file)
    own = MultiLabelDataset(
        "mine",
        LabelSpace(("dog",)),
        [file],
        torch.tensor([[1]], dtype=torch.int8),
        ["1"],
        torch.tensor([[size]], dtype=torch.int8),
        [(Box("dog", (0.0, 0.0, 1.0, 1.0)), Box("dog", (0.0, 0.0, 0.9, 0.9)))],
    )
    found = load_dataset(write_dataset({"all": own}, f"coco:{tmp_path / 'out'}").spec, "all")
    assert found.sizes is not None
    assert found.sizes.tolist() == [[size]]
    assert found.boxes is not None
    assert len(found.boxes[0]) == 2


def test_numbers_stay_the_ids_of_coco(tmp_path: Path) -> None:
    own = dataset(tmp_path, ids=["139", "0", "7", "8", "9", "123456789012"])
    write_dataset({"all": own}, f"coco:{tmp_path / 'out'}")
    content = json.loads((tmp_path / "out" / "instances.json").read_text(encoding="utf-8"))
    assert [entry["id"] for entry in content["images"]] == [139, 0, 7, 8, 9, 123456789012]
    assert not any("source_id" in entry for entry in content["images"])


def test_coco_of_coco_knows_no_sizes_that_were_not_known(tmp_path: Path) -> None:
    written = write_dataset({"all": dataset(tmp_path)}, f"coco:{tmp_path / 'out'}")
    found = load_dataset(written.spec, "all")
    assert found.sizes is None
    assert found.boxes is None
    content = json.loads((tmp_path / "out" / "instances.json").read_text(encoding="utf-8"))
    assert all(entry["bbox"] == [0, 0, SIDE, SIDE] and not entry["iscrowd"] for entry in content["annotations"])


def test_parquet_is_a_table_of_images_and_lists(tmp_path: Path) -> None:
    write_dataset({"train": dataset(tmp_path, TAGGED)}, f"parquet:{tmp_path / 'out'}")
    table = pq.read_table(tmp_path / "out" / "train.parquet")
    assert table.column_names == ["id", "image", "tags"]
    rows = table.to_pylist()
    assert [row["image"]["bytes"] for row in rows] == [png(number) for number in range(6)]
    assert rows[0]["image"]["path"] == "id 0.png"
    names = SPACE.names
    assert [row["tags"] for row in rows] == [
        None if -1 in states else [name for name, state in zip(names, states, strict=True) if state]
        for states in TAGGED
    ]
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}


def test_a_shard_is_a_tar_of_images_each_before_its_labels(tmp_path: Path) -> None:
    write_dataset({"val": dataset(tmp_path)}, f"shards:{tmp_path / 'out'}")
    with tarfile.open(tmp_path / "out" / "val-000000.tar") as tar:
        members = tar.getmembers()
        assert [member.name for member in members[:4]] == [
            *("000000000.png", "000000000.json", "000000001.png", "000000001.json")
        ]
        contents = [tar.extractfile(member).read() for member in members]  # type: ignore[union-attr]
    assert contents[0::2] == [png(number) for number in range(6)]
    said = [json.loads(content) for content in contents[1::2]]
    assert said[0] == {"id": "id 0", "tags": ["zebra", "back\\slash"]}
    assert said[3] == {"id": "id 3", "tags": ["zebra", "ant; big"], "unknown": ['say "cat"']}
    assert {member.mtime for member in members} == {0}


@pytest.mark.parametrize("states", [PARTLY, TAGGED])
def test_a_csv_is_read_by_the_standard_library(tmp_path: Path, states: list[list[int]]) -> None:
    own = dataset(tmp_path, states)
    write_dataset({"train": own}, f"csv:{tmp_path / 'out'}")
    with (tmp_path / "out" / "train.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == list(own.ids)
    assert [row["path"] for row in rows] == [str(image) for image in own.images]
    if states is TAGGED:
        assert [row["tags"] for row in rows[:3]] == ["zebra;back\\\\slash", ";", ""]
    else:
        cells = [[{"1": 1, "0": 0, "": -1}[row[name]] for name in SPACE.names] for row in rows]
        assert cells == states


# Names


RESERVED = {"id", "path", "split", "tags", "labels"}  # columns of a CSV
texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(';,"\n\r\\\t |/.'), min_size=1, max_size=12)
names = texts.filter(lambda text: text.strip())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("form", FORMATS)
def test_any_names_and_ids_come_back(tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("any")

    def allowed(text: str) -> bool:
        return form != "csv" or (text == text.strip() and "\0" not in text and text not in RESERVED)

    labels = data.draw(st.lists(names.filter(allowed), min_size=2, max_size=4, unique=True))
    ids = data.draw(st.lists(names.filter(allowed), min_size=2, max_size=4, unique=True))
    cells = st.lists(st.sampled_from((1, 0, -1)), min_size=len(labels), max_size=len(labels))
    states = data.draw(st.lists(cells, min_size=len(ids), max_size=len(ids)))
    groups = {data.draw(names): tuple(labels[:1])}
    own = dataset(folder, states, label_space=LabelSpace(tuple(labels), groups, extra=(labels[1],)), ids=ids)
    parts = {"train": own.subset(range(1)), "test": own.subset(range(1, len(ids)))}
    written = write_dataset(parts, f"{form}:{folder / 'out'}", size=data.draw(st.sampled_from((None, 8))))
    found = splits_of(written.spec)
    assert_same(found, parts)
    for own in found.values():
        for image in own.images:
            content = image.read_bytes() if isinstance(image, Path) else image.read()  # type: ignore[union-attr]
            assert len(content) > 50


@pytest.mark.parametrize("name", [" dog", "dog\n", "path", "tags", "a\0b"])
def test_what_a_csv_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    own = dataset(tmp_path, [[1, -1]], label_space=LabelSpace((name, "x")))
    with pytest.raises(TagformerError, match="a CSV cannot hold the label"):
        write_dataset({"all": own}, f"csv:{tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
    with pytest.raises(TagformerError, match="a CSV cannot hold the id"):
        write_dataset({"all": dataset(tmp_path, ids=[" a", *"bcdef"])}, f"csv:{tmp_path / 'out'}")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    own = dataset(tmp_path, ids=["a\udcff", *"bcdef"])
    with pytest.raises(TagformerError, match="is not UTF-8: rename it"):
        write_dataset({"all": own}, f"jsonl:{tmp_path / 'out'}")


@pytest.mark.parametrize(
    ("image_id", "expected"),
    [
        ("a/b.jpg", "a/b"),
        ("../../etc/passwd", "etc/passwd"),
        ("/abs.png", "abs"),
        ("..", "_"),
        ("a.jpg/b", "a.jpg_/b"),
        ('c:\\d?"e', "c__d__e"),
        ("ä" * 200, "ä" * 100),
    ],
)
def test_files_are_called_after_ids_and_stay_in_their_folder(image_id: str, expected: str) -> None:
    assert file_name(image_id) == expected


def test_files_of_ids_that_look_alike_do_not_meet(tmp_path: Path) -> None:
    ids = ["a.jpg", "A.png", "a", "a-2", "a.jpg/b", "../a"]
    written = write_dataset({"all": dataset(tmp_path, ids=ids)}, f"jsonl:{tmp_path / 'out'}", size=8)
    found = load_dataset(written.spec, "all")
    assert list(found.ids) == ids
    files = [str(image.resolve()) for image in found.images if isinstance(image, Path)]
    assert len({file.casefold() for file in files}) == 6
    assert all(file.startswith(str(tmp_path / "out" / "images")) for file in files)


@pytest.mark.parametrize("splits", [{}, {"all": 0, "train": 0}, {"dev": 0}])
def test_other_splits_are_refused(tmp_path: Path, splits: dict[str, int]) -> None:
    own = dataset(tmp_path)
    with pytest.raises(ValueError, match="give train, val and test, or all"):
        write_dataset(dict.fromkeys(splits, own), f"jsonl:{tmp_path / 'out'}")
