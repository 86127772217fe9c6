from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tagformer.data import load_dataset
from tagformer.data.formats.imagefolder import ImageFolderFormat
from tagformer.errors import BadImageError, TagformerError
from tagformer.images.reading import load_image
from tests.stored_pictures import assert_shows, png

FORMAT = ImageFolderFormat()
load, splits = FORMAT.load, FORMAT.splits


def write(root: Path, *files: str) -> Path:
    """Picture n for the n-th file."""
    for number, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(number))
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """As ImageNet has it, but one label is only in train and one only in val."""
    files = ("train/n02/n02_2.JPEG", "train/n02/n02_1.JPEG", "train/n01/n01_1.JPEG", "val/n03/7.JPEG", "val/n02/8.png")
    return write(tmp_path, *files)


def names_of(root: Path, split: str) -> dict[str, list[str]]:
    dataset = load(root, split, {})
    return {record.id: dataset.label_space.names_of(record.labels) for record in dataset}


def test_an_image_has_the_label_of_its_folder_and_no_other(tree: Path) -> None:
    dataset = load(tree, "train", {})
    assert dataset.label_space.names == ("n01", "n02", "n03")
    assert dataset.labels.dtype == torch.int8
    assert dataset.ids == ["train/n01/n01_1.JPEG", "train/n02/n02_1.JPEG", "train/n02/n02_2.JPEG"]
    assert dataset.labels.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert dataset.exhaustive
    assert dataset.images[0] == tree / "train" / "n01" / "n01_1.JPEG"


def test_the_splits_are_folders_and_share_their_labels(tree: Path) -> None:
    assert splits(tree, {}) == ("train", "val")
    val = load(tree, "val", {})
    assert val.label_space == load(tree, "train", {}).label_space
    assert names_of(tree, "val") == {"val/n02/8.png": ["n02"], "val/n03/7.JPEG": ["n03"]}
    assert names_of(tree, "all") == names_of(tree, "train") | names_of(tree, "val")


def test_without_splits_the_folders_are_the_labels(tmp_path: Path) -> None:
    root = write(tmp_path, "dog/a.png", "cat/b.png", "train/c.png")
    assert splits(root, {}) == ()
    assert names_of(root, "all") == {"cat/b.png": ["cat"], "dog/a.png": ["dog"], "train/c.png": ["train"]}


def test_folders_below_a_label_belong_to_it(tmp_path: Path) -> None:
    root = write(tmp_path, "dog/poodle/small/a.png", "dog/b.png", "cat/2024/c.png")
    assert names_of(root, "all") == {"cat/2024/c.png": ["cat"], "dog/b.png": ["dog"], "dog/poodle/small/a.png": ["dog"]}


def test_hidden_files_and_other_files_are_skipped(tmp_path: Path) -> None:
    root = write(tmp_path, "dog/a.png", "dog/A.TIFF", "dog/._a.png", "dog/notes.txt", ".git/b.png", "classes.txt")
    assert names_of(root, "all") == {"dog/A.TIFF": ["dog"], "dog/a.png": ["dog"]}


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    files = ("dog/a.png", "dog/._a.png", "dog/b.heic2", "cat/c.png", "__MACOSX/dog/._a.png", ".ipynb_checkpoints/a.png")
    root = write(tmp_path, *files)
    dataset = load(root, "all", {})
    assert list(dataset.ids) == ["cat/c.png", "dog/a.png"]
    assert dataset.warnings == (f"{root}: passed over: 1 .heic2, 3 hidden.",)


def test_a_file_in_the_folders_of_several_labels_is_one_image_with_all_of_them(tmp_path: Path) -> None:
    root = write(tmp_path, "cat/a.png", "cat/b.png", "dog/c.png", "dog/b.png")
    (root / "dog" / "a.png").write_bytes((root / "cat" / "a.png").read_bytes())
    assert (root / "dog" / "b.png").read_bytes() != (root / "cat" / "b.png").read_bytes()
    assert names_of(root, "all") == {
        "cat/a.png": ["cat", "dog"],
        "cat/b.png": ["cat"],
        "dog/b.png": ["dog"],
        "dog/c.png": ["dog"],
    }
    assert "1 file is a copy of a file of the same name in another label's folder" in load(root, "all", {}).warnings[0]


def test_copies_in_other_splits_stay_images_of_their_own(tmp_path: Path) -> None:
    root = write(tmp_path, "train/dog/a.png", "test/cat/b.png")
    (root / "test" / "cat" / "a.png").write_bytes((root / "train" / "dog" / "a.png").read_bytes())
    assert names_of(root, "all")["test/cat/a.png"] == ["cat"]
    assert load(root, "all", {}).warnings == ()


def test_images_come_out_pixel_by_pixel_also_in_loader_processes(tree: Path) -> None:
    for name in ("train/n02/n02_2", "train/n02/n02_1", "train/n01/n01_1"):
        (tree / f"{name}.JPEG").rename(tree / f"{name}.png")
    assert_shows(load_dataset(f"imagefolder:{tree}", "train"), [2, 1, 0])
    assert_shows(load(tree, "all", {}).subset([4, 0]), [3, 2])


def test_a_split_is_drawn_where_there_is_none(tmp_path: Path) -> None:
    write(tmp_path, *(f"{name}/{number}.png" for name in ("dog", "cat") for number in range(6)))
    parts = [load_dataset(f"imagefolder:{tmp_path}", split).ids for split in ("train", "val", "test")]
    assert sorted(image_id for part in parts for image_id in part) == sorted(load(tmp_path, "all", {}).ids)
    assert [len(part) for part in parts] == [10, 1, 1]


# Malformed


@pytest.mark.parametrize(
    ("files", "spoil", "message"),
    [
        (["a.png", "dog/b.png"], None, r"has images of its own, as a\.png: put each into the folder of its label"),
        (["train/a.png", "train/dog/b.png", "val/dog/c.png"], None, r"train has images of its own, as a\.png"),
        (["train/dog/a.png", "extra/b.png"], None, "has the split 'train' beside the folder 'extra'"),
        (["train/dog/a.png", "valid/dog/b.png", "Val/dog/c.png"], None, "'Val' and 'valid', which are both the split"),
        (["notes.txt"], None, "has no folders of images: expected"),
        (["train/notes.txt", "val/dog/a.png"], None, "train has no folders of images"),
        (["dog/a.png", "cat/notes.txt"], None, "folder 'cat' has no images: remove it, or put its images there"),
        (["dog/a.png"], lambda root: (root / "cat").mkdir(), "folder 'cat' has no images"),
        (
            ["dog/a.png"],
            lambda root: os.symlink(root, root / "dog" / "again"),
            "is a link to a folder that contains it",
        ),
    ],
)
def test_a_faulty_tree_is_rejected_by_folder(
    tmp_path: Path, files: list[str], spoil: Callable[[Path], object] | None, message: str
) -> None:
    write(tmp_path, *files)
    if spoil is not None:
        spoil(tmp_path)
    with pytest.raises(TagformerError, match=message) as caught:
        load(tmp_path, "all", {})
    assert str(tmp_path) in str(caught.value)


def test_a_file_instead_of_a_folder_is_rejected(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    with pytest.raises(TagformerError, match=r"cannot read .*a\.png: Not a directory"):
        splits(tmp_path / "a.png", {})


def test_a_broken_image_and_a_link_to_nothing_are_named(tmp_path: Path) -> None:
    root = write(tmp_path, "dog/a.png", "dog/b.png")
    (root / "dog" / "a.png").write_bytes(b"text")
    with pytest.raises(BadImageError, match=r"dog/a\.png is not an image"):
        load_image(load(root, "all", {}).images[0])
    (root / "dog" / "c.png").symlink_to(root / "nowhere.png")
    with pytest.raises(BadImageError, match=r"dog/c\.png does not exist"):
        load_dataset(f"imagefolder:{root}", "all")
