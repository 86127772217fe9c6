"""Splits by other names, in folders, files and columns, of every format that people write themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagformer.data import Spec, convert, load_dataset
from tagformer.data.formats.voc import VocFormat
from tagformer.data.splits import split_of_name
from tagformer.errors import TagformerError
from tests.data_files import coco
from tests.data_files.voc import write_lists
from tests.stored_pictures import png

NAMES = {
    "train": ("train", "Train", "TRAINING", "trainval"),
    "val": ("val", "Valid", "VALIDATION", "dev", "eval"),
    "test": ("test", "Test", "testing"),
}
WRITTEN = [("Train", "Valid", "Test"), ("training", "dev", "TESTING"), ("trainval", "validation", "test")]


def pictures(folder: Path, count: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(png(number))


def table_text(suffix: str, folder: str, split: str | None = None) -> str:
    """Two rows of CSV or JSON lines, with the images in a folder ("": beside the table)."""
    paths = [f"{folder}{number}.png" for number in range(2)]
    if suffix == ".csv":
        column = ("", "") if split is None else (",Split", f",{split}")
        return "\n".join([f"path,tags{column[0]}", *(f"{path},dog{column[1]}" for path in paths)]) + "\n"
    entry = {} if split is None else {"split": split}
    return "".join(json.dumps({"path": path, "tags": ["dog"], **entry}) + "\n" for path in paths)


def split_files(suffix: str) -> Callable[[Path, str], None]:
    def write(root: Path, name: str) -> None:
        pictures(root / f"{name}-images")
        (root / f"{name}{suffix}").write_text(table_text(suffix, f"{name}-images/"))

    return write


def folders(suffix: str) -> Callable[[Path, str], None]:
    def write(root: Path, name: str) -> None:
        pictures(root / name)
        (root / name / f"_classes{suffix}").write_text(table_text(suffix, ""))

    return write


def parquet_files(root: Path, name: str) -> None:
    pictures(root / name)
    rows = {"path": [f"{name}/{number}.png" for number in range(2)], "tags": [["dog"], ["dog"]]}
    pq.write_table(pa.table(rows), root / f"{name}-00000-of-00001.parquet")


def parquet_folders(root: Path, name: str) -> None:
    pictures(root / name)
    rows = {"path": [f"{number}.png" for number in range(2)], "tags": [["dog"], ["dog"]]}
    pq.write_table(pa.table(rows), root / name / "0000.parquet")


def coco_tree(root: Path, name: str) -> None:
    pictures(root / name)
    content = coco.instances([coco.annotation(1, 10, 18, (0, 0, 9, 9)), coco.annotation(2, 11, 1, (0, 0, 9, 9))], 2)
    for number, image in enumerate(content["images"]):
        image["file_name"] = f"{number}.png"
    coco.write(root / name / "_annotations.coco.json", content)


def coco_annotations(root: Path, name: str) -> None:
    coco_tree(root, name)
    (root / "annotations").mkdir(exist_ok=True)
    (root / name / "_annotations.coco.json").rename(root / "annotations" / f"instances_{name}.json")


def image_folders(root: Path, name: str) -> None:
    pictures(root / name / "dog")


def shard_folders(root: Path, name: str) -> None:
    pictures(root / name)
    rows = [f"{name}{number},{number}.png,dog" for number in range(2)]
    (root / name / "my.csv").write_text("\n".join(["id,path,tags", *rows]) + "\n")
    convert(f"csv:{root / name / 'my.csv'}", f"shards:{root / name / 'out'}", split="all")
    next((root / name / "out").glob("*.tar")).rename(root / name / f"{name}0.tar")


def shard_files(root: Path, name: str) -> None:
    shard_folders(root, name)
    (root / name / f"{name}0.tar").rename(root / f"{name}-000000.tar")


def hugging_face(root: Path, name: str) -> None:
    features = datasets.Features({"image": datasets.Image(), "tags": datasets.Sequence(datasets.Value("string"))})
    existing = dict(datasets.load_from_disk(str(root))) if (root / "dataset_dict.json").is_file() else {}
    rows = {"image": [{"bytes": png(1), "path": None}] * 2, "tags": [["dog"], ["dog"]]}
    existing[name] = datasets.Dataset.from_dict(rows, features=features)
    target = root if not existing.keys() - {name} else root / "more"
    datasets.DatasetDict(existing).save_to_disk(str(target))
    if target != root:
        for file in sorted(target.rglob("*")):
            if file.is_file():
                (root / file.relative_to(target)).parent.mkdir(exist_ok=True)
                file.replace(root / file.relative_to(target))


TREES: dict[str, tuple[str, Callable[[Path, str], None]]] = {
    "csv files": ("csv", split_files(".csv")),
    "csv folders": ("csv", folders(".csv")),
    "jsonl files": ("jsonl", split_files(".jsonl")),
    "jsonl folders": ("jsonl", folders(".jsonl")),
    "parquet files": ("parquet", parquet_files),
    "parquet folders": ("parquet", parquet_folders),
    "coco tree": ("coco", coco_tree),
    "coco annotations": ("coco", coco_annotations),
    "imagefolder": ("imagefolder", image_folders),
    "shards in folders": ("shards", shard_folders),
    "shards": ("shards", shard_files),
    "huggingface": ("huggingface", hugging_face),
}


def test_names_in_any_case_mean_a_split() -> None:
    for split, names in NAMES.items():
        assert {split_of_name(name) for name in names} == {split}
    for name in ("trains", "testset", "unlabelled", "", "all"):
        assert split_of_name(name) is None


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(("format_name", "write"), TREES.values(), ids=TREES.keys())
def test_other_names_are_read_as_the_splits(
    tmp_path: Path, format_name: str, write: Callable[[Path, str], None], written: tuple[str, ...]
) -> None:
    for name in written:
        write(tmp_path, name)
    spec = Spec.parse(f"{format_name}:{tmp_path}")
    assert spec.splits == ("train", "val", "test")
    parts = [load_dataset(str(spec), split) for split in spec.splits]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert len({part.label_space.names for part in parts}) == 1
    assert not {name.lower() for name in parts[0].label_space.names} & {"train", "valid", "test", "training"}
    whole = load_dataset(str(spec), "all")
    assert sorted(whole.ids) == sorted(image_id for part in parts for image_id in part.ids) or format_name == "coco"
    assert len(set(whole.ids)) == 6


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_the_column_takes_other_names_in_any_case(tmp_path: Path, suffix: str) -> None:
    pictures(tmp_path)
    first, second = (table_text(suffix, "", split).splitlines() for split in ("Training", "DEV"))
    rows = [*first[:-1], second[-1]]
    (tmp_path / f"my{suffix}").write_text("\n".join(rows) + "\n")
    spec = Spec.parse(str(tmp_path / f"my{suffix}"))
    assert spec.splits == ("train", "val")
    assert list(load_dataset(str(spec), "val").ids) == ["1.png"]
    assert load_dataset(str(spec), "train").label_space.names == ("dog",)


def test_voc_lists_by_other_names(tmp_path: Path) -> None:
    root = tmp_path / "VOC2007"
    write_lists(root)
    lists = root / "ImageSets" / "Main"
    before = VocFormat("2007").splits(tmp_path, {})
    for file in list(lists.iterdir()):
        if file.stem in ("train", "val", "trainval", "test"):
            file.rename(lists / f"{file.stem.title()}.txt")
    assert VocFormat("2007").splits(tmp_path, {}) == before


@pytest.mark.parametrize(("format_name", "write"), TREES.values(), ids=TREES.keys())
def test_two_names_of_one_split_are_rejected(
    tmp_path: Path, format_name: str, write: Callable[[Path, str], None]
) -> None:
    if format_name == "shards":
        pytest.skip("a split may have several tars, whatever their names")
    if format_name == "parquet" and write is parquet_folders:
        pytest.skip("a split may have several files")
    write(tmp_path, "val")
    write(tmp_path, "valid")
    with pytest.raises(TagformerError, match=r"split 'val'|for 'val'|the same split"):
        load_dataset(f"{format_name}:{tmp_path}", "all")


def test_tables_that_were_not_read_are_counted(tmp_path: Path) -> None:
    for name in ("train", "valid"):
        split_files(".csv")(tmp_path, name)
    assert load_dataset(f"csv:{tmp_path}", "train").warnings == ()
    alone = load_dataset(f"csv:{tmp_path / 'train.csv'}", "all")
    assert alone.warnings == (
        f"valid.csv beside train.csv was not read; to use all splits, name the folder {tmp_path}.",
    )
    (tmp_path / "old.csv").write_text("path,tags\n")
    assert "1 other .csv file was not read: old.csv" in load_dataset(f"csv:{tmp_path}", "train").warnings[0]
