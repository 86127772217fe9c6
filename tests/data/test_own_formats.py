"""What a data format of the user returns is checked: every fault is one sentence with the format's name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tagformer.data import convert, get_format, load_dataset, load_training_data
from tagformer.errors import TagformerError
from tests.helpers import CommandLine

MODULE = """
from pathlib import Path

import torch

from tagformer import LabelSpace
from tagformer.data import Format, MultiLabelDataset
from tagformer.data.formats.scenes import ScenesFormat
from tagformer.errors import TagformerError


def scenes(**changes):
    whole = ScenesFormat().load(Path(), "train", {"images": "40", "faint": "0"})
    return whole.replace(sizes=None, boxes=None).replace(**changes)


def renamed(names, dataset):
    extra = [name for name in names if name.removesuffix("s") in ("night", "busy")]
    return dataset.replace(label_space=LabelSpace(tuple(names), extra=tuple(extra)))


class Good(Format):
    needs_path = False
    returned = {}

    def splits(self, path, options):
        return ()

    def load(self, path, split, options):
        return scenes(**self.returned)


class ListOfSplits(Good):
    def splits(self, path, options):
        return ["val", "train"]


class WordSplit(Good):
    defined = "train"

    def splits(self, path, options):
        return self.defined


class OtherSplits(WordSplit):
    defined = ("training", "dev")


class NoSplits(WordSplit):
    defined = None


class MixedSplits(WordSplit):
    defined = ("train", ["val"])


class FailingSplits(Good):
    def splits(self, path, options):
        raise KeyError("x")


class OneArgument(Good):
    def load(self, path):
        return scenes()


class Nothing(Good):
    def load(self, path, split, options):
        return None


class Failing(Good):
    def load(self, path, split, options):
        raise ValueError("line 3 is broken")


class Missing(Good):
    def load(self, path, split, options):
        return open("/nowhere/x.txt")


class Exits(Good):
    def load(self, path, split, options):
        raise SystemExit


class Polite(Good):
    def load(self, path, split, options):
        raise TagformerError("x.txt, line 3: write a tag.")


class ShortIds(Good):
    def load(self, path, split, options):
        return scenes(ids=["x"])


class SameIds(Good):
    returned = {"ids": ["x", "y", "x", *map(str, range(37))]}


class NumberIds(Good):
    returned = {"ids": list(range(40))}


class EmptyId(Good):
    returned = {"ids": ["a", "", *map(str, range(38))]}


class TextImages(Good):
    returned = {"images": ["a.png"] * 40}


class Twos(Good):
    def load(self, path, split, options):
        return scenes(labels=scenes().labels * 2)


class ShortOrigins(Good):
    returned = {"origins": ["line 1"]}


class NumberOrigins(Good):
    returned = {"origins": list(range(40))}


class ShortBoxes(Good):
    returned = {"boxes": [()]}


class PlainBoxes(Good):
    returned = {"boxes": [((0, 0, 1, 1),)] * 40}


class FailingConstructor(Good):
    def __init__(self):
        raise ValueError("no server")


class ListOfOptions(Good):
    options = ["a"]


class NoOptions(Good):
    options = None


class OtherWriter(Good):
    writer = int


class Three(Good):
    def splits(self, path, options):
        return ("train", "val", "test")

    def load(self, path, split, options):
        rows = {"train": range(20), "val": range(20, 30), "test": range(30, 40)}
        data = scenes().subset(list(range(40)) if split == "all" else list(rows[split]))
        return self.changed(data, split) if split in ("val", "test") else data


class Reversed(Three):
    def changed(self, data, split):
        return renamed(data.label_space.names[::-1], data.replace(labels=data.labels.flip(1)))


class Fewer(Three):
    def changed(self, data, split):
        return data.replace(label_space=LabelSpace(data.label_space.names[:5]), labels=data.labels[:, :5])


class Others(Three):
    def changed(self, data, split):
        return renamed([name + "s" for name in data.label_space.names], data)


class Grouped(Three):
    def changed(self, data, split):
        names = data.label_space.names
        return data.replace(label_space=LabelSpace(names, {"both": names[:2]}))
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module above as own.py in the current folder."""
    (tmp_path / "own.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("WordSplit", "splits must return a tuple of some of train, val and test, or (), not 'train'"),
        ("OtherSplits", "splits must return a tuple of some of train, val and test, or (), not ('training', 'dev')"),
        ("NoSplits", "or (), not None"),
        ("MixedSplits", "or (), not ('train', ['val'])"),
        ("FailingSplits", "splits failed: KeyError: 'x' (own.py, line "),
        ("OneArgument", "load failed: TypeError: OneArgument.load() takes 2 positional arguments but 4 were given"),
        ("Nothing", "load must return a MultiLabelDataset, not None"),
        ("Failing", "load failed: ValueError: line 3 is broken (own.py, line "),
        ("Missing", "load failed: FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/x.txt'"),
        ("Exits", "load failed: SystemExit"),
        ("ShortIds", "load failed: ValueError: 1 ids for 40 images"),
        ("SameIds", "the id 'x' of image 2 is that of image 0 too: ids must be unique"),
        ("NumberIds", "the id of image 0 must be text that is not empty, not 0"),
        ("EmptyId", "the id of image 1 must be text that is not empty, not ''"),
        ("TextImages", "image 0 must be a Path, or an object with render() or read(), not a str: write Path(...)"),
        ("Twos", "labels must be 1 present, 0 absent or -1 unknown"),
        ("ShortOrigins", "1 origins for 40 images: give one for each image"),
        ("NumberOrigins", "the origin of image 0 must be text, not a int"),
        ("ShortBoxes", "1 boxes for 40 images: give one for each image"),
        ("PlainBoxes", "the boxes of image 0 must be a tuple of Box"),
        ("FailingConstructor", "its constructor failed: ValueError: no server (own.py, line "),
        ("ListOfOptions", "options must be a dict of names and what they mean"),
        ("NoOptions", "options must be a dict of names and what they mean"),
        ("OtherWriter", "writer must be a subclass of Writer, or None"),
    ],
)
def test_a_fault_is_one_sentence(name: str, message: str) -> None:
    with pytest.raises(TagformerError) as caught:
        load_dataset(f"own:{name}", "train")
    assert str(caught.value).startswith(f"data format 'own:{name}'")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_of_tagformer_passes_unchanged() -> None:
    with pytest.raises(TagformerError, match=r"^x\.txt, line 3: write a tag\.$"):
        load_dataset("own:Polite", "train")


def test_good_formats_load() -> None:
    assert len(load_dataset("own:Good", "all")) == 40
    assert len(load_dataset("own:ListOfSplits", "val")) == 40
    assert get_format("own:Good").needs_path is False


def test_the_columns_of_validation_follow_training() -> None:
    train, val = load_training_data("own:Reversed")
    assert val.label_space == train.label_space
    expected = load_dataset("own:Good", "all").subset(list(range(20, 30)))
    assert val.labels.tolist() == expected.labels.tolist()


def test_a_conversion_aligns_the_splits() -> None:
    written = convert("own:Reversed", "csv:out")
    read = load_dataset(written.spec, "test")
    expected = load_dataset("own:Good", "all").subset(list(range(30, 40)))
    assert read.label_space.names == expected.label_space.names
    assert read.labels.tolist() == expected.labels.tolist()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Fewer", "the val split has other labels than the first split (5 and 14 labels; for example '"),
        ("Others", "the val split has other labels than the first split (14 and 14 labels; for example '"),
        ("Grouped", "the val split has other groups or extra labels than the first split"),
    ],
)
def test_splits_with_different_labels_are_one_sentence(tagformer: CommandLine, name: str, message: str) -> None:
    small = ("--model", "linear", "--backbone", "tiny", "--set", "data.workers=0", "--out", "run")
    commands = (
        ("train", "--data", f"own:{name}", *small),
        ("data", f"own:{name}", "--no-read-images"),
        ("data", "convert", f"own:{name}", "csv:out"),
    )
    for command in commands:
        code, _, error = tagformer(*command)
        assert code == 2, command
        assert message in error
        assert len(error.strip().splitlines()) == 1
    assert not Path("run").exists()


def test_a_missing_module_without_a_path_is_named() -> None:
    with pytest.raises(TagformerError, match="an own format needs its module 'elsewhere' on the Python path"):
        load_dataset("elsewhere:Good")
    with pytest.raises(TagformerError, match=r"write 'own:Good', and run the command in the folder of own\.py"):
        load_dataset("own.py:Good:photos")
