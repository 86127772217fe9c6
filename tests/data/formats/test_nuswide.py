from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tagformer.data.formats.nuswide import NusWideFormat
from tagformer.errors import TagformerError

FORMAT = NusWideFormat()
load, splits = FORMAT.load, FORMAT.splits

CONCEPTS = ["airport", "animal", *(f"concept{number:02d}" for number in range(2, 80)), "zebra"]
TRAIN = ["actor\\0001_2124494179.jpg", "actor\\0002_174174086.jpg", "zoo\\0003_42.jpg"]
TEST = ["zoo\\0001_77.jpg", "beach\\0002_78.jpg"]
PRESENT = {("Train", "airport"): [0], ("Train", "zebra"): [0, 2], ("Test", "animal"): [1]}  # rows; all else is 0
LABELS = Path("Groundtruth/TrainTestLabels")


def write(file: Path, lines: list[str], end: str = "\n") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes("".join(line + end for line in lines).encode())
    return file


def write_tree(
    root: Path, concepts: str = "ConceptsList/Concepts81.txt", labels: Path = LABELS, end: str = "\n"
) -> Path:
    write(root / concepts, CONCEPTS, end)
    for stem, images in (("Train", TRAIN), ("Test", TEST)):
        write(root / "ImageList" / f"{stem}Imagelist.txt", images, end)
        for concept in CONCEPTS:
            rows = PRESENT.get((stem, concept), [])
            lines = [str(int(row in rows)) for row in range(len(images))]
            write(root / labels / f"Labels_{concept}_{stem}.txt", lines, end)
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path)


def names_of(root: Path, split: str, **options: str) -> dict[str, list[str]]:
    dataset = load(root, split, options)
    return {record.id: dataset.label_space.names_of(record.labels) for record in dataset}


def test_labels_are_read_from_one_file_a_concept(tree: Path) -> None:
    dataset = load(tree, "train", {})
    assert dataset.label_space.names == tuple(CONCEPTS)
    assert dataset.labels.dtype == torch.int8
    assert dataset.labels[:, [0, 1, 80]].tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert int(dataset.labels.sum()) == 3
    assert not dataset.exhaustive


def test_the_splits_are_the_two_lists(tree: Path) -> None:
    assert splits(tree, {}) == ("train", "test")
    assert names_of(tree, "test") == {"zoo/0001_77.jpg": [], "beach/0002_78.jpg": ["animal"]}
    (tree / "ImageList" / "TrainImagelist.txt").unlink()
    assert splits(tree, {}) == ("test",)


def test_all_is_the_training_list_and_then_the_test_list(tree: Path) -> None:
    assert names_of(tree, "all") == {
        "actor/0001_2124494179.jpg": ["airport", "zebra"],
        "actor/0002_174174086.jpg": [],
        "zoo/0003_42.jpg": ["zebra"],
        "zoo/0001_77.jpg": [],
        "beach/0002_78.jpg": ["animal"],
    }


def test_the_labelled_subset_leaves_images_without_a_label_out(tree: Path) -> None:
    dataset = load(tree, "all", {"subset": "labelled"})
    assert dataset.ids == ["actor/0001_2124494179.jpg", "zoo/0003_42.jpg", "beach/0002_78.jpg"]
    assert dataset.origins is not None
    assert dataset.origins[1] == f"{tree / 'ImageList' / 'TrainImagelist.txt'}, line 3"
    assert dataset.origins[2] == f"{tree / 'ImageList' / 'TestImagelist.txt'}, line 2"
    assert dataset.labels.sum(dim=1).tolist() == [2, 1, 1]


def test_images_are_in_flickr_or_images_or_another_folder(tree: Path) -> None:
    expected = "actor/0001_2124494179.jpg"
    assert load(tree, "train", {}).images[0] == tree / "Flickr" / expected
    (tree / "images").mkdir()
    assert load(tree, "train", {}).images[0] == tree / "images" / expected
    (tree / "Flickr").mkdir()
    assert load(tree, "train", {}).images[0] == tree / "Flickr" / expected
    assert load(tree, "train", {"images": "/photos"}).images[0] == Path("/photos") / expected


@pytest.mark.parametrize(
    "write_variant",
    [
        lambda root: write_tree(root, concepts="Concepts81.txt"),
        lambda root: write_tree(root, labels=Path("TrainTestLabels")),
        lambda root: write_tree(root, end="\r\n"),
        lambda root: write_tree(root, end=" \n"),
    ],
)
def test_the_variants_of_the_tree_are_read_alike(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, write_variant: Callable[[Path], Path]
) -> None:
    variant = write_variant(tmp_path_factory.mktemp("variant"))
    assert load(variant, "all", {}).label_space == load(tree, "all", {}).label_space
    assert names_of(variant, "all") == names_of(tree, "all")


def test_a_last_line_may_end_without_a_line_break(tree: Path) -> None:
    file = tree / LABELS / "Labels_zebra_Train.txt"
    file.write_bytes(b"1\n0\n1")
    assert names_of(tree, "train")["zoo/0003_42.jpg"] == ["zebra"]


def test_as_many_images_as_the_real_training_list_has(tree: Path) -> None:
    generator = np.random.default_rng(0)
    truth = generator.random((161_789, 81)) < 0.023
    write(tree / "ImageList" / "TrainImagelist.txt", [f"folder{i % 700}\\{i:06d}.jpg" for i in range(len(truth))])
    for column, concept in enumerate(CONCEPTS):
        lines = np.full((len(truth), 2), ord("\n"), dtype=np.uint8)
        lines[:, 0] = truth[:, column] + ord("0")
        (tree / LABELS / f"Labels_{concept}_Train.txt").write_bytes(lines.tobytes())
    dataset = load(tree, "train", {"subset": "labelled"})
    assert len(dataset) == truth.any(axis=1).sum()
    assert dataset.label_rows.count(1).tolist() == truth.sum(axis=0).tolist()
    assert np.array_equal(dataset.labels.numpy(), truth[truth.any(axis=1)])
    last = int(truth.any(axis=1).nonzero()[0][-1])
    assert dataset.ids[len(dataset) - 1] == f"folder{last % 700}/{last:06d}.jpg"


# Malformed


def spoilt(file: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / file).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoilt(f"{LABELS}/Labels_zebra_Train.txt", b"1\n2\n1\n"), r"Labels_zebra_Train\.txt, line 2: '2': use 0 or 1"),
        (spoilt(f"{LABELS}/Labels_zebra_Train.txt", b"1\n0\n\xff\n"), r"Labels_zebra_Train\.txt, line 3: "),
        (spoilt(f"{LABELS}/Labels_zebra_Train.txt", b"1\n\n1\n"), r"Labels_zebra_Train\.txt, line 2: ''"),
        (spoilt(f"{LABELS}/Labels_zebra_Train.txt", b"1\n01\n\n1"), r"Labels_zebra_Train\.txt, line 2: '01'"),
        (
            spoilt(f"{LABELS}/Labels_zebra_Train.txt", b"1\n0\n"),
            r"Labels_zebra_Train\.txt has 2 lines for the 3 images",
        ),
        (spoilt(f"{LABELS}/Labels_zebra_Train.txt", b"1\n0\n0\n0\n"), r"Labels_zebra_Train\.txt has 4 lines"),
        (spoilt(f"{LABELS}/Labels_zebra_Train.txt", b""), r"Labels_zebra_Train\.txt, line 1: ''"),
        (
            lambda root: (root / LABELS / "Labels_animal_Train.txt").unlink(),
            r"cannot read .*Labels_animal_Train\.txt: No such file",
        ),
        (
            spoilt("ImageList/TrainImagelist.txt", b"a\\1.jpg\nb\\2.jpg\na\\1.jpg\n"),
            r"TrainImagelist\.txt, line 3: 'a/1\.jpg' is a duplicate of .*TrainImagelist\.txt, line 1",
        ),
        (spoilt("ImageList/TrainImagelist.txt", b"a\\1.jpg\n\nb\\2.jpg\n"), r"TrainImagelist\.txt, line 2 is empty"),
        (spoilt("ImageList/TrainImagelist.txt", b"a\\1.jpg\n\xe9.jpg\n"), r"TrainImagelist\.txt, line 2 is not UTF-8"),
        (spoilt("ImageList/TrainImagelist.txt", b"\r\n"), r"TrainImagelist\.txt is empty"),
        (spoilt("ConceptsList/Concepts81.txt", b"sky\nsea\n"), r"Concepts81\.txt has 2 lines: .* 81 labels"),
        (
            spoilt("ConceptsList/Concepts81.txt", "\n".join(["sky", *CONCEPTS[:79], "sky"]).encode()),
            r"Concepts81\.txt, line 81: 'sky' is a duplicate of .*Concepts81\.txt, line 1",
        ),
        (
            lambda root: (root / "ConceptsList" / "Concepts81.txt").unlink(),
            r"has neither ConceptsList/Concepts81\.txt nor Concepts81\.txt",
        ),
        (
            lambda root: (root / "Groundtruth").rename(root / "Truth"),
            r"has neither Groundtruth/TrainTestLabels nor TrainTestLabels",
        ),
    ],
)
def test_a_spoilt_tree_is_rejected_by_name(tree: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(tree)
    with pytest.raises(TagformerError, match=message) as caught:
        load(tree, "train", {})
    assert str(tree) in str(caught.value)


def test_an_image_in_both_lists_is_rejected(tree: Path) -> None:
    write(tree / "ImageList" / "TestImagelist.txt", [TEST[0], TRAIN[2]])
    with pytest.raises(
        TagformerError, match=r"TestImagelist\.txt, line 2: .* is a duplicate of .*TrainImagelist\.txt, line 3"
    ):
        load(tree, "all", {})


def test_a_folder_without_lists_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"has no ImageList/TrainImagelist\.txt") as caught:
        splits(tmp_path, {})
    assert str(tmp_path) in str(caught.value)


def test_another_subset_is_rejected(tree: Path) -> None:
    with pytest.raises(TagformerError, match="subset=labeled: use all or labelled"):
        load(tree, "train", {"subset": "labeled"})
