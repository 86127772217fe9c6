"""Addresses of data sets, and formats of your own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tagformer.data import FORMATS, Spec, convert, get_format, load_dataset
from tagformer.data.formats.csv import CsvFormat
from tagformer.errors import TagformerError
from tests.stored_pictures import picture

# Pictures named after their label: dog-1.png; with ?also=LABEL an extra label that is unknown for every image.
MY_PART = """
from pathlib import Path

import torch

from tagformer.data import Format, MultiLabelDataset
from tagformer.data.formats.jsonl import JsonlFormat
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace


class Named(Format):
    layout = "LABEL-NUMBER.png"
    options = {"also": "one more label"}

    def splits(self, path, options):
        return ()

    def load(self, path, split, options):
        files = sorted(path.glob("*-*.png"))
        if not files:
            raise TagformerError(f"{path} has no images: expected {self.layout}.")
        names = [file.name.split("-")[0] for file in files]
        space = LabelSpace((*sorted(set(names)), *([options["also"]] if "also" in options else [])))
        labels = torch.stack([space.encode([name]) for name in names])
        labels[:, len(set(names)) :] = -1
        return MultiLabelDataset(str(path), space, files, labels, [file.stem for file in files])


class Nowhere(Named):
    needs_path = False
    options = {}

    def load(self, path, split, options):
        return super().load(Path("pets"), split, options)


class Lines(JsonlFormat):
    suffixes = ()


class Half(Format):
    def splits(self, path, options):
        return ()


def function():
    pass
"""


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with my_part.py and 30 images of cats and dogs in pets/; it is the current folder."""
    (tmp_path / "my_part.py").write_text(MY_PART, encoding="utf-8")
    (tmp_path / "pets").mkdir()
    for number in range(30):
        picture(number).save(tmp_path / "pets" / f"{'dog' if number % 3 else 'cat'}-{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_part", raising=False)
    return tmp_path


# Addresses


def test_an_address_names_a_format_a_path_and_options(tmp_path: Path) -> None:
    file = tmp_path / "my.csv"
    file.touch()
    spec = Spec.parse(f"csv:{file}?tags=tags&empty=absent")
    assert (spec.format, spec.path, spec.options) == ("csv", file, {"tags": "tags", "empty": "absent"})
    assert Spec.parse(str(file)) == Spec("csv", file, {})
    assert Spec.parse("scenes?images=12") == Spec("scenes", Path(), {"images": "12"})


@pytest.mark.parametrize("name", ["my.csv", "MY.CSV", "my.jsonl", "my.parquet"])
def test_a_suffix_names_the_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert Spec.parse(str(tmp_path / name)).format == name.lower().removeprefix("my.")


def test_an_address_reads_back_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "my.csv"
    file.touch()
    monkeypatch.chdir(tmp_path)
    text = str(Spec.parse("my.csv?tags=a%26b%3Dc+d&images=/x y"))
    monkeypatch.chdir("/")
    assert Spec.parse(text) == Spec("csv", file, {"tags": "a&b=c d", "images": "/x y"})


def test_an_address_keeps_the_folder_of_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.csv").touch()
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = str(Spec.parse("csv:my.csv?images=pictures"))
    monkeypatch.chdir("/")
    assert Spec.parse(spec).options["images"] == str(tmp_path / "pictures")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cvs:my.csv", "unknown data format 'cvs' .did you mean 'csv'"),
        ("jsnl:data", "unknown data format 'jsnl' .did you mean 'jsonl'"),
        ("json:data", "unknown data format 'json' .did you mean 'jsonl'"),
        ("photos", "write FORMAT:PATH"),
        ("csv:", "has no path: write csv:PATH"),
        ("csv", "has no path: write csv:PATH"),
        ("coco", "has no path: write coco:PATH"),
        ("csv:/not/there.csv", "/not/there.csv does not exist"),
        ("scenes?image=5", "unknown option 'image' of format 'scenes' .did you mean 'images'"),
        ("scenes:images=5", "format 'scenes' takes no path"),
    ],
)
def test_an_address_that_leads_nowhere_is_rejected(spec: str, message: str) -> None:
    with pytest.raises(TagformerError, match=message):
        load_dataset(spec)


# Formats of your own


def test_an_own_format_is_loaded_like_any_other(pets: Path) -> None:
    dataset = load_dataset("my_part:Named:pets?also=cow", "all")
    assert dataset.label_space.names == ("cat", "dog", "cow")
    assert len(dataset) == 30
    assert [dataset.label_space.names_of(labels) for labels in dataset.labels[[0, -1]]] == [["cat"], ["dog"]]
    assert (dataset.labels[:, 2] == -1).all()
    parts = [load_dataset("my_part:Named:pets", split) for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == 30


def test_the_address_of_an_own_format_reads_back_from_any_folder(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = str(Spec.parse("my_part:Named:pets?also=cow"))
    assert text == f"my_part:Named:{pets / 'pets'}?also=cow"
    monkeypatch.chdir("/")
    assert Spec.parse(text) == Spec("my_part:Named", pets / "pets", {"also": "cow"})


def test_an_own_format_may_need_no_path(pets: Path) -> None:
    assert str(Spec.parse("my_part:Nowhere")) == "my_part:Nowhere"
    assert len(load_dataset("my_part:Nowhere", "all")) == 30
    with pytest.raises(TagformerError, match="format 'my_part:Nowhere' takes no path"):
        load_dataset("my_part:Nowhere:pets")


def test_a_registered_format_takes_precedence_over_a_module(pets: Path) -> None:
    (pets / "csv.py").write_text(MY_PART, encoding="utf-8")
    (pets / "Named").write_text("path,tags\npets/dog-1.png,dog\n")
    assert isinstance(get_format(Spec.parse("csv:Named").format), CsvFormat)
    assert FORMATS["csv"] is get_format("csv")


def test_an_own_format_is_converted(pets: Path) -> None:
    written = convert("my_part:Named:pets?also=cow", "jsonl:out")
    read, loaded = (load_dataset(spec, "all") for spec in (written.spec, "my_part:Named:pets?also=cow"))
    assert read.labels.tolist() == loaded.labels.tolist()
    with pytest.raises(TagformerError, match="cannot write 'my_part:Named:out': name it FORMAT:FOLDER with one of"):
        convert("csv:Named", "my_part:Named:out")


def test_an_own_format_may_have_a_writer(pets: Path) -> None:
    written = convert("my_part:Named:pets", "my_part:Lines:out")
    assert written.spec == "my_part:Lines:out"
    assert [file.name for file in sorted((pets / "out").iterdir())] == [".conversion", "all.jsonl", "labels.json"]
    assert len(load_dataset(written.spec, "all")) == 30
    convert("my_part:Named:pets", "csv:out", overwrite=True)
    assert [file.name for file in sorted((pets / "out").iterdir())] == [".conversion", "all.csv", "labels.json"]
    with pytest.raises(TagformerError, match="name a folder, without options, as my_part:Lines:FOLDER"):
        convert("my_part:Named:pets", "my_part:Lines")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_part:Named", "has no path: write my_part:Named:PATH"),
        ("my_part:Named:elsewhere", "elsewhere does not exist"),
        ("my_part:Named:pets?all=1", "unknown option 'all' of format 'my_part:Named'"),
        ("my_part:Nmaed:pets", "data format 'my_part:Nmaed': .*my_part.py has no 'Nmaed' .did you mean 'Named'"),
        ("my_prat:Named:pets", "there is no module 'my_prat' on the Python path"),
        ("my_prat:Named", "unknown data format 'my_prat'"),
        ("my_part:function:pets", "'function' is not a subclass of"),
        ("my_part:Half:pets", "data format 'my_part:Half' cannot be created .*load.*define splits and load"),
        ("my_part:Named:.", "has no images: expected LABEL-NUMBER.png"),
    ],
)
def test_what_is_wrong_with_an_own_format_is_one_sentence(pets: Path, spec: str, message: str) -> None:
    with pytest.raises(TagformerError, match=message) as caught:
        load_dataset(spec)
    assert "\n" not in str(caught.value)


def test_the_command_line_finds_an_own_format_in_the_current_folder(pets: Path) -> None:
    command = [sys.executable, "-m", "tagformer", "data", "my_part:Named:pets"]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}  # python -m would add the folder itself
    done = subprocess.run(command, cwd=pets, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "my_part:Named:pets, split all: 30 images, 2 labels" in done.stdout
    assert "Traceback" not in done.stderr
