"""Every format that can be written is read as the data set that was written."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from tagformer.data import convert, load_dataset, write_dataset
from tagformer.data.registry import Spec
from tagformer.images.reading import load_image
from tagformer.labels import LabelSpace
from tests.data_files.conversions import (
    FORMATS,
    PARTLY,
    TAGGED,
    assert_same,
    dataset,
    splits_of,
)
from tests.stored_pictures import assert_shows, png


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
def test_images_stay_where_they_were(tmp_path: Path, form: str) -> None:
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


@pytest.mark.parametrize("splits", [{}, {"all": 0, "train": 0}, {"dev": 0}])
def test_other_splits_are_rejected(tmp_path: Path, splits: dict[str, int]) -> None:
    own = dataset(tmp_path)
    with pytest.raises(ValueError, match="give train, val and test, or all"):
        write_dataset(dict.fromkeys(splits, own), f"jsonl:{tmp_path / 'out'}")
