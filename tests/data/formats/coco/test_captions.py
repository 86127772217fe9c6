from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats.coco import Coco1000Format
from tagformer.data.formats.coco.captions import ranked_words, words_of
from tagformer.errors import TagformerError

FORMAT = Coco1000Format()
load, splits = FORMAT.load, FORMAT.splits

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 10, "name": "traffic light"}]
TRAIN = {
    1: ["A dog on the beach.", "Two dogs run; a beach!"],
    2: ["A beach at sunset", "The Sunset over a dog's BEACH, 1984"],
    3: [],
    4: ["A traffic light at sunset"],
}
VAL = {7: ["A dog chases a frisbee on the beach"], 8: ["Sunset"]}
# The words by the training images that have them: beach 2, dog 2, sunset 2; dogs, light, run, traffic, two 1
WORDS = ("beach", "sunset", "dogs", "light", "run", "traffic", "two")


def write(file: Path, content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def images_of(numbers: list[int], stem: str) -> list[dict[str, Any]]:
    return [
        {"id": i, "file_name": f"COCO_{stem}_{i:012d}.jpg", "width": 640, "height": 480, "license": 1} for i in numbers
    ]


def write_split(root: Path, stem: str, captions: dict[int, list[str]], objects: list[tuple[int, int]]) -> None:
    """`objects`: (image, category) for each instance; captions are written round-robin, as the official ones are."""
    images = images_of(list(captions), stem)
    order = sorted((turn, image) for image, own in captions.items() for turn in range(len(own)))
    written = [
        {"image_id": image, "id": 100 + i, "caption": captions[image][turn]} for i, (turn, image) in enumerate(order)
    ]
    write(root / "annotations" / f"captions_{stem}.json", {"info": {}, "images": images, "annotations": written})
    instances = [
        {"id": 500 + i, "image_id": image, "category_id": category, "bbox": [0, 0, 5, 5], "area": 20.0, "iscrowd": 0}
        for i, (image, category) in enumerate(objects)
    ]
    content = {"images": images, "annotations": instances, "categories": CATEGORIES}
    write(root / "annotations" / f"instances_{stem}.json", content)


def write_tree(root: Path, year: str = "2014") -> Path:
    write_split(root, f"train{year}", TRAIN, [(1, 18), (1, 1), (1, 1), (3, 1), (4, 10)])
    write_split(root, f"val{year}", VAL, [(7, 1)])
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path)


def names_of(dataset: MultiLabelDataset) -> dict[str, list[str]]:
    return {record.id: dataset.label_space.names_of(record.labels) for record in dataset}


def test_the_labels_are_the_objects_and_then_the_words(tree: Path) -> None:
    for split in ("train", "test", "all"):
        label_space = load(tree, split, {}).label_space
        assert label_space.names == ("person", "traffic light", "dog", *WORDS)
        assert label_space.extra == ()


def test_an_image_has_its_objects_and_the_words_of_any_caption(tree: Path) -> None:
    dataset = load(tree, "train", {})
    assert dataset.labels.dtype == torch.int8
    assert names_of(dataset) == {
        "1": ["person", "dog", "beach", "dogs", "run", "two"],
        "2": ["beach", "sunset"],  # "dog" is mentioned, but no dog was annotated
        "4": ["traffic light", "sunset", "light", "traffic"],
    }
    assert set(dataset.labels.flatten().tolist()) == {0, 1}
    assert not dataset.exhaustive


def test_the_words_of_other_splits_are_those_of_the_training_captions(tree: Path) -> None:
    assert splits(tree, {}) == ("train", "test")
    assert names_of(load(tree, "test", {})) == {"7": ["person", "beach"], "8": ["sunset"]}
    assert load(tree, "all", {}).ids == ["1", "2", "4", "7", "8"]
    (tree / "annotations" / "captions_val2014.json").unlink()
    assert splits(tree, {}) == ("train",)


def test_images_are_in_the_folder_of_the_split(tree: Path) -> None:
    first, *_, last = load(tree, "all", {}).images
    assert first == tree / "train2014" / "COCO_train2014_000000000001.jpg"
    assert last == tree / "val2014" / "COCO_val2014_000000000008.jpg"
    assert load(tree, "test", {"images": "/photos"}).images[0] == Path("/photos/COCO_val2014_000000000007.jpg")


def test_2017_is_read_where_there_is_no_2014(tmp_path: Path) -> None:
    write_tree(tmp_path, "2017")
    assert load(tmp_path, "test", {}).images[0] == tmp_path / "val2017" / "COCO_val2017_000000000007.jpg"


@pytest.mark.parametrize(("count", "words"), [("1", WORDS[:1]), ("4", WORDS[:4]), ("9", WORDS)])
def test_as_many_words_as_asked_for(tree: Path, count: str, words: tuple[str, ...]) -> None:
    assert load(tree, "train", {"words": count}).label_space.names[3:] == words


def test_extra_objects_are_inputs_that_are_not_scored(tree: Path) -> None:
    included, extra = load(tree, "train", {}), load(tree, "train", {"objects": "extra"})
    assert extra.label_space.names == included.label_space.names
    assert extra.label_space.extra == ("person", "traffic light", "dog")
    assert extra.label_space.is_target.tolist() == [False] * 3 + [True] * 7
    assert torch.equal(extra.labels, included.labels)


def test_without_objects_their_names_are_words_and_no_instances_are_read(tree: Path) -> None:
    for file in (tree / "annotations").glob("instances_*"):
        file.unlink()
    dataset = load(tree, "all", {"objects": "none", "words": "4"})
    assert dataset.label_space.names == ("beach", "dog", "sunset", "dogs")
    assert names_of(dataset)["2"] == ["beach", "dog", "sunset"]
    assert names_of(dataset)["7"] == ["beach", "dog"]


def test_a_record_has_the_place_where_it_was_written(tree: Path) -> None:
    origins = load(tree, "train", {}).origins
    assert origins is not None
    assert origins[2] == f"{tree / 'annotations' / 'captions_train2014.json'}, image 4"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man rides 2 red-brown horses.", {"man", "rides", "red", "brown", "horses"}),
        ("The man's dog doesn't bark", {"man", "dog", "bark"}),
        ("T-shirt in a CAFÉ", {"shirt", "café"}),
        ("there is a one_way sign", {"way", "sign"}),
        ("", set()),
    ],
)
def test_a_word_is_a_run_of_letters_and_no_stop_word(text: str, words: set[str]) -> None:
    assert words_of(text) == words


def test_words_count_once_per_text_and_ties_are_alphabetical() -> None:
    assert ranked_words(["zebra zebra zebra", "yak", "yak ant", "zebra bee"]) == ["yak", "zebra", "ant", "bee"]


# Malformed


def changed(name: str, change: Callable[[Any], Any]) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        file = root / "annotations" / name
        content = json.loads(file.read_text())
        write(file, change(content) or content)

    return spoil


CAPTIONS, INSTANCES = "captions_train2014.json", "instances_train2014.json"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (changed(CAPTIONS, lambda c: [c]), r"captions_train2014\.json has no list 'images': it is not a COCO captions"),
        (changed(CAPTIONS, lambda c: {"images": []}), r"captions_train2014\.json has no list 'annotations'"),
        (
            changed(CAPTIONS, lambda c: c["annotations"][0].update(image_id=99)),
            r"captions_train2014\.json: annotation 100 has no image 99",
        ),
        (
            changed(CAPTIONS, lambda c: c["annotations"][0].__delitem__("caption")),
            r"captions_.*: annotation 100 has no 'caption': it must be text",
        ),
        (
            changed(CAPTIONS, lambda c: c["annotations"][0].update(caption=5)),
            r"captions_.*: annotation 100 has the caption 5",
        ),
        (changed(CAPTIONS, lambda c: c["annotations"].append("x")), r"captions_.*: entry \d+ of 'annotations' is not"),
        (changed(CAPTIONS, lambda c: c["images"][0].update(file_name=5)), r"captions_.*: image 1 has the file_name 5"),
        (changed(CAPTIONS, lambda c: c["images"].append(c["images"][0])), r"captions_.*: two images have the id 1"),
        (changed(CAPTIONS, lambda c: {**c, "annotations": []}), r"captions_.*: no caption has a word"),
        (
            lambda root: (root / "annotations" / CAPTIONS).write_text('{"images": [\n{"id": 1}, {"id"'),
            r"captions_train2014\.json, line 2: not valid JSON",
        ),
        (
            lambda root: (root / "annotations" / CAPTIONS).write_bytes(b'{"images": "\xff"}'),
            r"captions_train2014\.json is not UTF-8",
        ),
        (lambda root: (root / "annotations" / CAPTIONS).unlink(), r"has no annotations/captions_train2014\.json"),
        (lambda root: (root / "annotations" / INSTANCES).unlink(), r"instances_train2014\.json does not exist"),
        (
            changed(INSTANCES, lambda c: c["annotations"][0].update(category_id=99)),
            r"instances_train2014\.json: annotation 500 has no category 99",
        ),
        (
            changed(INSTANCES, lambda c: c["annotations"][0].update(image_id=99)),
            r"instances_train2014\.json: annotation 500 has no image 99",
        ),
        (
            changed(INSTANCES, lambda c: {**c, "images": images_of([1, 3, 4], "train2014")}),
            r"instances_train2014\.json has no image 2, which has a caption in .*captions_train2014\.json",
        ),
        (changed(INSTANCES, lambda c: c.__delitem__("categories")), r"instances_.* has no list 'categories'"),
        (
            changed(INSTANCES, lambda c: c["categories"][0].update(name=" ")),
            r"instances_train2014\.json: category \d+ has the name ' ': it must be text",
        ),
    ],
)
def test_a_spoilt_tree_is_rejected_by_name(tree: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(tree)
    with pytest.raises(TagformerError, match=message) as caught:
        load(tree, "train", {})
    assert str(tree) in str(caught.value)


def test_splits_with_other_categories_are_not_put_together(tree: Path) -> None:
    changed("instances_val2014.json", lambda c: c["categories"][0].update(name="hound"))(tree)
    with pytest.raises(TagformerError, match="the categories of its splits differ") as caught:
        load(tree, "all", {})
    assert str(tree) in str(caught.value)


@pytest.mark.parametrize("count", ["0", "-5", "many", "", "1.5"])
def test_another_number_of_words_is_rejected(tree: Path, count: str) -> None:
    with pytest.raises(TagformerError, match=f"option words={count}: use a whole number from 1"):
        load(tree, "train", {"words": count})


def test_another_use_of_the_objects_is_rejected(tree: Path) -> None:
    with pytest.raises(TagformerError, match="option objects=some: use include, extra or none"):
        load(tree, "train", {"objects": "some"})
