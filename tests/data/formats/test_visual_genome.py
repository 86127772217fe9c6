from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tagformer.data.formats.news import NEWS500
from tagformer.data.formats.visual_genome import VG500
from tagformer.errors import TagformerError

INDEX = {"2360596.jpg": [0, 499], "2385068.jpg": [], "2315571.jpg": [7, 7, 3], "1.jpg": [7], "unused.jpg": [12]}
TRAIN, TEST = ["2360596.jpg", "2385068.jpg", "2315571.jpg"], ["1.jpg"]


def write_tree(root: Path, index: str, content: Any = INDEX) -> Path:
    (root / "train_list_500.txt").write_text("".join(f"{name}\n" for name in TRAIN))
    (root / "test_list_500.txt").write_text("".join(f"{name}\n" for name in TEST))
    (root / index).write_text(json.dumps(content))
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path, "vg_category_500_labels_index.json")


def test_an_image_has_the_labels_of_its_entry(tree: Path) -> None:
    dataset = VG500.load(tree, "train", {})
    assert dataset.ids == TRAIN
    assert dataset.labels.dtype == torch.int8
    assert dataset.labels.shape == (3, 500)
    assert [torch.nonzero(row).flatten().tolist() for row in dataset.labels] == [[0, 499], [], [3, 7]]
    assert set(dataset.labels.flatten().tolist()) == {0, 1}
    assert dataset.origins is not None
    assert dataset.origins[2] == f"{tree / 'train_list_500.txt'}, line 3"
    assert not dataset.exhaustive


def test_the_splits_are_the_two_lists(tree: Path) -> None:
    assert VG500.splits(tree, {}) == ("train", "test")
    assert VG500.load(tree, "test", {}).ids == TEST
    assert VG500.load(tree, "all", {}).ids == [*TRAIN, *TEST]
    (tree / "train_list_500.txt").unlink()
    assert VG500.splits(tree, {}) == ("test",)


def test_labels_are_called_by_their_numbers_or_by_the_names_of_a_file(tree: Path, tmp_path: Path) -> None:
    numbered = VG500.load(tree, "train", {}).label_space.names
    assert (numbered[0], numbered[42], numbered[499]) == ("vg_000", "vg_042", "vg_499")
    file = tmp_path / "names.txt"
    file.write_text("".join(f"thing {number}\r\n" for number in range(500)))
    dataset = VG500.load(tree, "train", {"names": str(file)})
    assert dataset.label_space.names_of(dataset[0].labels) == ["thing 0", "thing 499"]


def test_the_images_of_visual_genome_may_be_in_two_folders(tree: Path) -> None:
    assert VG500.load(tree, "train", {}).images == [tree / "VG_100K" / name for name in TRAIN]
    (tree / "VG_100K_2").mkdir()
    (tree / "VG_100K_2" / TRAIN[1]).touch()
    folders = ("VG_100K", "VG_100K_2", "VG_100K")
    assert VG500.load(tree, "train", {}).images == [tree / own / name for own, name in zip(folders, TRAIN, strict=True)]
    assert VG500.load(tree, "train", {"images": "/photos"}).images == [Path("/photos") / name for name in TRAIN]


def test_news500_has_the_same_layout_under_its_own_names(tmp_path: Path) -> None:
    write_tree(tmp_path, "news_category_500_labels_index.json")
    dataset = NEWS500.load(tmp_path, "test", {})
    assert NEWS500.splits(tmp_path, {}) == ("train", "test")
    assert dataset.label_space.names_of(dataset[0].labels) == ["news_007"]
    assert dataset.images == [tmp_path / "images" / "1.jpg"]
    assert "news_category_500_labels_index.json" in NEWS500.layout
    with pytest.raises(TagformerError, match=r"vg_category_500_labels_index\.json does not exist"):
        VG500.load(tmp_path, "test", {})


# Malformed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**INDEX, "2385068.jpg": [500]}, r"index\.json, entry '2385068\.jpg': label 500: use whole numbers 0 to 499"),
        ({**INDEX, "2385068.jpg": [3, -1]}, r"index\.json, entry '2385068\.jpg': label -1"),
        ({**INDEX, "2385068.jpg": ["3"]}, r"index\.json, entry '2385068\.jpg': label '3'"),
        ({**INDEX, "2385068.jpg": [True]}, r"index\.json, entry '2385068\.jpg': label True"),
        ({**INDEX, "2385068.jpg": 3}, r"index\.json, entry '2385068\.jpg' is not a list"),
        (
            {"2360596.jpg": [], "2315571.jpg": []},
            r"train_list_500\.txt, line 2: .*index\.json has no entry '2385068\.jpg'",
        ),
        ([], r"index\.json is not a JSON object"),
    ],
)
def test_a_spoilt_index_is_rejected_by_name(tmp_path: Path, content: Any, message: str) -> None:
    write_tree(tmp_path, "vg_category_500_labels_index.json", content)
    with pytest.raises(TagformerError, match=message) as caught:
        VG500.load(tmp_path, "train", {})
    assert str(tmp_path) in str(caught.value)


def test_a_truncated_index_is_rejected_with_its_line(tree: Path) -> None:
    (tree / "vg_category_500_labels_index.json").write_text('{"2360596.jpg": [0],\n"2385068.jpg": [')
    with pytest.raises(TagformerError, match=r"labels_index\.json, line 2: not valid JSON"):
        VG500.load(tree, "train", {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1.jpg\n2.jpg\n1.jpg\n", r"train_list_500\.txt, line 3: '1\.jpg' is a duplicate of .*500\.txt, line 1"),
        (b"1.jpg\n \n2.jpg\n", r"train_list_500\.txt, line 2 is empty"),
        (b"1.jpg\n2.jpg\n\xff\xfe.jpg\n", r"train_list_500\.txt, line 3 is not UTF-8"),
        (b"", r"train_list_500\.txt is empty"),
    ],
)
def test_a_spoilt_list_is_rejected_by_line(tree: Path, content: bytes, message: str) -> None:
    (tree / "train_list_500.txt").write_bytes(content)
    with pytest.raises(TagformerError, match=message) as caught:
        VG500.load(tree, "train", {})
    assert str(tree) in str(caught.value)


def test_an_image_in_both_lists_is_rejected(tree: Path) -> None:
    (tree / "test_list_500.txt").write_text(f"1.jpg\n{TRAIN[2]}\n")
    with pytest.raises(
        TagformerError, match=r"test_list_500\.txt, line 2: .* is a duplicate of .*train_list_500\.txt, line 3"
    ):
        VG500.load(tree, "all", {})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([f"thing {number}" for number in range(499)], r"names\.txt has 499 lines: it needs .* 500 labels"),
        (["thing 7", *(f"thing {number}" for number in range(499))], r"names\.txt, line 9: 'thing 7' is a duplicate"),
        (["one", "", "three"], r"names\.txt, line 2 is empty"),
    ],
)
def test_spoilt_names_are_rejected(tree: Path, lines: list[str], message: str) -> None:
    file = tree / "names.txt"
    file.write_text("\n".join(lines))
    with pytest.raises(TagformerError, match=message) as caught:
        VG500.load(tree, "train", {"names": str(file)})
    assert str(file) in str(caught.value)


def test_a_file_of_names_that_is_not_there_is_named(tree: Path) -> None:
    with pytest.raises(TagformerError, match=r"cannot read /nowhere/names\.txt: No such file"):
        VG500.load(tree, "train", {"names": "/nowhere/names.txt"})


def test_a_folder_without_lists_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"has neither train_list_500\.txt nor test_list_500\.txt") as caught:
        VG500.splits(tmp_path, {})
    assert str(tmp_path) in str(caught.value)


# The official lists


def test_the_official_lists_are_read(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "vg500-lists"
    with pytest.raises(TagformerError, match=r"vg_category_500_labels_index\.json does not exist: it gives the labels"):
        VG500.load(folder, "train", {})
    names: list[str] = []
    for name in ("train_list_500.txt", "test_list_500.txt"):
        content = (folder / name).read_text()
        names += content.split()
        (tmp_path / name).write_text(content)
    index = {name: [int(name.removesuffix(".jpg")) % 500] for name in names}
    (tmp_path / "vg_category_500_labels_index.json").write_text(json.dumps(index))
    assert [len(VG500.load(tmp_path, split, {})) for split in ("train", "test")] == [82_904, 10_000]
    dataset = VG500.load(tmp_path, "all", {})
    assert dataset.ids == names
    assert dataset.label_rows.count_by_row(1).tolist() == [1] * 92_904
    numbers = torch.tensor([index[name][0] for name in names])
    assert dataset.label_rows.count(1).tolist() == torch.bincount(numbers, minlength=500).tolist()
    assert dataset.label_rows[-8192:].argmax(dim=1).tolist() == numbers[-8192:].tolist()
