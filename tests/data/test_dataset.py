"""The record type that all formats share, and data sets by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tagformer.data import Box, MultiLabelDataset, load_dataset
from tagformer.data.registry import Spec
from tagformer.data.splits import split_by_id
from tagformer.errors import BadImageError, TagformerError
from tagformer.labels import LabelSpace


def dataset(exhaustive: bool = False) -> MultiLabelDataset:
    return MultiLabelDataset(
        name="mine",
        label_space=LabelSpace(("cat", "dog", "cow")),
        images=[Path("a.jpg"), Path("b.jpg"), Path("c.jpg")],
        labels=torch.tensor([[1, 0, -1], [0, 1, 1], [1, 1, 0]], dtype=torch.int8),
        ids=["a", "b", "c"],
        sizes=torch.tensor([[3, 0, 0], [0, 1, 2], [2, 1, 0]], dtype=torch.int8),
        boxes=[(), (Box("dog", (0, 0, 0.5, 1)),), ()],
        origins=["line 2", "line 3", "line 4"],
        exhaustive=exhaustive,
    )


def table(folder: Path, count: int) -> Path:
    """A CSV of `count` images that are there."""
    for number in range(count):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / f"{number}.png")
    lines = ["path,tags", *(f"{number}.png,{'even' if number % 2 == 0 else 'odd'}" for number in range(count))]
    file = folder / "my.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


# Records


def test_a_record_is_a_row_of_every_column() -> None:
    record = dataset()[1]
    assert (record.image, record.id) == (Path("b.jpg"), "b")
    assert record.labels.tolist() == [0, 1, 1]
    assert record.sizes is not None
    assert record.sizes.tolist() == [0, 1, 2]
    assert record.boxes == (Box("dog", (0, 0, 0.5, 1)),)
    assert dataset()[-1].id == "c"
    assert [record.id for record in dataset()] == ["a", "b", "c"]


def test_a_record_beyond_the_end_is_an_index_error() -> None:
    with pytest.raises(IndexError, match="record 3 of 3"):
        dataset()[3]


def test_a_subset_takes_every_column_in_the_given_order() -> None:
    part = dataset().subset([2, 0])
    assert list(part.ids) == ["c", "a"]
    assert part.images == [Path("c.jpg"), Path("a.jpg")]
    assert part.labels.tolist() == [[1, 1, 0], [1, 0, -1]]
    assert part.sizes is not None
    assert part.sizes.tolist() == [[2, 1, 0], [3, 0, 0]]
    assert part.origins == ["line 4", "line 2"]
    assert len(dataset().subset([])) == 0


def test_columns_that_do_not_fit_are_an_error() -> None:
    space = LabelSpace(("cat", "dog"))
    with pytest.raises(ValueError, match="must be int8"):
        MultiLabelDataset("x", space, [Path("a")], torch.zeros(1, 2), ["a"])
    with pytest.raises(ValueError, match=r"must be of shape \(1, 2\)"):
        MultiLabelDataset("x", space, [Path("a")], torch.zeros(1, 3, dtype=torch.int8), ["a"])
    with pytest.raises(ValueError, match="2 ids for 1 images"):
        MultiLabelDataset("x", space, [Path("a")], torch.zeros(1, 2, dtype=torch.int8), ["a", "b"])


# Another label space


def test_labels_are_aligned_by_name_and_never_by_position() -> None:
    aligned = dataset().align_to(LabelSpace(("cow", "cat", "dog")))
    assert aligned.label_space.names == ("cow", "cat", "dog")
    assert aligned.labels.tolist() == [[-1, 1, 0], [1, 0, 1], [0, 1, 1]]
    assert aligned.sizes is not None
    assert aligned.sizes.tolist() == [[0, 3, 0], [2, 0, 1], [0, 2, 1]]
    assert list(aligned.ids) == ["a", "b", "c"]


@pytest.mark.parametrize(("exhaustive", "missing"), [(True, 0), (False, -1)])
def test_a_label_that_the_data_lacks_is_absent_only_where_the_data_is_exhaustive(
    exhaustive: bool, missing: int
) -> None:
    aligned = dataset(exhaustive).align_to(LabelSpace(("dog", "zebra")))
    assert aligned.labels.tolist() == [[0, missing], [1, missing], [1, missing]]
    assert aligned.sizes is not None
    assert aligned.sizes.tolist() == [[0, 0], [1, 0], [1, 0]]


def test_aligning_to_its_own_label_space_changes_nothing() -> None:
    unchanged = dataset()
    assert unchanged.align_to(LabelSpace(("cat", "dog", "cow"))) is unchanged


def test_data_without_a_common_name_is_an_error() -> None:
    with pytest.raises(TagformerError, match=r"mine has none of the model's labels.*'cat'.*'zebra'"):
        dataset().align_to(LabelSpace(("zebra", "lion")))


# By name


def test_a_spec_names_a_format_a_path_and_options(tmp_path: Path) -> None:
    file = table(tmp_path, 1)
    spec = Spec.parse(f"csv:{file}?tags=tags&empty=absent")
    assert (spec.format, spec.path, spec.options) == ("csv", file, {"tags": "tags", "empty": "absent"})
    assert Spec.parse(str(file)) == Spec("csv", file, {})
    assert Spec.parse("scenes?images=12") == Spec("scenes", None, {"images": "12"})


def test_a_spec_reads_back_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = table(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    text = str(Spec.parse("my.csv?tags=a%26b%3Dc+d&images=/x y"))
    monkeypatch.chdir("/")
    assert Spec.parse(text) == Spec("csv", file, {"tags": "a&b=c d", "images": "/x y"})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cvs:my.csv", "unknown data format 'cvs' .did you mean 'csv'"),
        ("photos", "write FORMAT:PATH"),
        ("csv:", "has no path: write csv:PATH"),
        ("coco", "has no path: write coco:PATH"),
        ("csv:/not/there.csv", "/not/there.csv does not exist"),
        ("scenes?image=5", "unknown option 'image' of format 'scenes' .did you mean 'images'"),
    ],
)
def test_a_spec_that_leads_nowhere_is_refused(spec: str, message: str) -> None:
    with pytest.raises(TagformerError, match=message):
        load_dataset(spec)


def test_an_unknown_split_and_one_that_the_data_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"unknown split 'tset' .did you mean 'test'"):
        load_dataset("scenes?images=6", "tset")
    file = tmp_path / "my.csv"
    file.write_text("path,tags,split\na.jpg,dog,train\n", encoding="utf-8")
    with pytest.raises(TagformerError, match=r"has no 'val' split; it has train\."):
        load_dataset(f"csv:{file}", "val")


def test_data_without_splits_is_split_by_id_into_disjoint_parts(tmp_path: Path) -> None:
    file = table(tmp_path, 200)
    parts = {split: load_dataset(f"csv:{file}", split) for split in ("train", "val", "test")}
    assert len(parts["train"]) == pytest.approx(160, abs=20)
    assert len(parts["val"]) == pytest.approx(20, abs=12)
    ids = [own for part in parts.values() for own in part.ids]
    assert sorted(ids) == sorted(load_dataset(f"csv:{file}", "all").ids)
    assert len({part.label_space.names for part in parts.values()}) == 1


def test_drawn_splits_depend_on_the_ids_alone() -> None:
    ids = [f"image-{i}" for i in range(1000)]
    shares = {"val": 0.1, "test": 0.2}
    parts = split_by_id(ids, shares)
    for name, size in (("val", 100), ("test", 200), ("train", 700)):
        assert len(parts[name]) == pytest.approx(size, abs=45)
    side = {ids[i]: name for name, part in parts.items() for i in part}
    assert len(side) == 1000
    fewer = ids[::-3]
    for name, part in split_by_id(fewer, shares).items():
        assert all(side[fewer[i]] == name for i in part), "an image stays where it is when others go"
    assert parts != split_by_id(ids, shares, seed=1)


def test_every_part_of_a_small_data_set_has_an_image() -> None:
    parts = split_by_id(["a", "b", "c"], {"val": 0.1, "test": 0.1})
    assert sorted(len(part) for part in parts.values()) == [1, 1, 1]
    with pytest.raises(TagformerError, match="2 images cannot be split into 3 parts"):
        split_by_id(["a", "b"], {"val": 0.1, "test": 0.1})


# Files that are not there


def test_a_missing_image_is_an_error_with_its_line_unless_skipped_or_kept(tmp_path: Path) -> None:
    file = table(tmp_path, 5)
    (tmp_path / "3.png").unlink()
    (tmp_path / "4.png").unlink()
    with pytest.raises(BadImageError, match=r"my\.csv, line 5: image .*3\.png does not exist \(and 1 more\)"):
        load_dataset(f"csv:{file}", "all")
    assert list(load_dataset(f"csv:{file}", "all", "skip").ids) == ["0.png", "1.png", "2.png"]
    assert len(load_dataset(f"csv:{file}", "all", "keep")) == 5


def test_an_image_without_annotation_stays_unknown_in_new_columns() -> None:
    tags = MultiLabelDataset(
        "mine",
        LabelSpace(("a",)),
        [Path("x"), Path("y")],
        torch.tensor([[-1], [0]], dtype=torch.int8),
        ["x", "y"],
        exhaustive=True,
    )
    assert tags.align_to(LabelSpace(("a", "b"))).labels.tolist() == [[-1, -1], [0, 0]]


def test_images_that_do_not_exist_are_left_out_and_named(tmp_path: Path) -> None:
    file = table(tmp_path, 4)
    (tmp_path / "2.png").unlink()
    assert load_dataset(f"csv:{file}", "all", "skip").left_out == (f"image {tmp_path / '2.png'} does not exist.",)
    for number in (0, 1, 3):
        (tmp_path / f"{number}.png").unlink()
    with pytest.raises(TagformerError, match="none of its 4 image files exists"):
        load_dataset(f"csv:{file}", "all", "skip")


def test_a_spec_says_where_the_images_are_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path, 2)
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = str(Spec.parse("csv:my.csv?images=pictures"))
    monkeypatch.chdir("/")
    assert Spec.parse(spec).options["images"] == str(tmp_path / "pictures")
