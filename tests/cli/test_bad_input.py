"""Bad input: exit code 2 and one sentence (what is wrong, where, what to do), never a traceback."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers import CommandLine, write_folder

Arguments = list[str | Path]


class Place:
    """A folder with a good data set, a good run, and room to spoil things."""

    def __init__(self, folder: Path, run: Path) -> None:
        self.folder, self.run = folder, run
        self.table = write_folder(folder / "data", 12)
        self.out = folder / "out"

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def csv(self, content: str | bytes) -> Arguments:
        return ["data", f"csv:{self.file('bad.csv', content)}"]

    def train(self, *more: str | Path, data: str | None = None) -> Arguments:
        spec = data or f"csv:{self.table}"
        return ["train", "--data", spec, "--out", self.out, "--backbone", "tiny", *more]

    def picture(self, name: str, content: bytes) -> Arguments:
        return ["predict", self.run, self.file(name, content)]


def jpeg(folder: Path) -> bytes:
    path = folder / "whole.jpg"
    Image.effect_noise((64, 64), 90).convert("RGB").save(path)
    return path.read_bytes()


def with_two_labels(place: Place) -> Arguments:
    run = place.folder / "run"
    shutil.copytree(place.run, run)
    (run / "labels.json").write_text(json.dumps({"names": ["a", "b"], "thresholds": [0.5, 0.5]}))
    return ["predict", run, place.table.parent]


def with_missing_image(place: Place) -> Arguments:
    (place.table.parent / "image-05.png").unlink()
    return place.train()


def with_broken_image(place: Place) -> Arguments:
    (place.table.parent / "image-05.png").write_bytes(b"GIF89a")
    return place.train("--set", "data.workers=0")


def coco(place: Place, content: str) -> Arguments:
    return ["data", f"coco:{place.file('instances.json', content)}"]


BAD: dict[str, tuple[Callable[[Place], Arguments], str]] = {
    "no path column": (lambda p: p.csv("photo,tags\na.jpg,x\n"), r"bad\.csv, line 1: no column of image paths among"),
    "duplicate label": (lambda p: p.csv("path,cat,dog,cat\n"), r"bad\.csv, line 1: duplicate column 'cat'"),
    "empty table": (lambda p: p.csv(""), r"bad\.csv is empty"),
    "table without images": (lambda p: p.csv("path,tags\n"), r"bad\.csv has no images"),
    "table without labels": (lambda p: p.csv("path\na.jpg\n"), r"bad\.csv, line 1: no labels"),
    "cell that is no state": (lambda p: p.csv("path,cat\na.jpg,maybe\n"), r"line 2, column 'cat': 'maybe'"),
    "row of another length": (lambda p: p.csv("path,cat\na.jpg,1,0\n"), r"line 2: 3 cells where the header has 2"),
    "image named twice": (lambda p: p.csv("path,tags\na.jpg,x;z\na.jpg,y\n"), r"line 3: image 'a\.jpg' is a duplicate"),
    "unknown split in the table": (lambda p: p.csv("path,tags,split\na.jpg,x,evl\n"), r"line 2: split 'evl'"),
    "not UTF-8": (lambda p: p.csv("path,tags\nä.jpg,ö\n".encode() + b"\xff.jpg,x\n"), r"line 3: not valid UTF-8"),
    "unclosed quote": (lambda p: p.csv('path,tags\na.jpg,"x\n'), r"bad\.csv, line \d: not a valid CSV line"),
    "missing image file": (with_missing_image, r"my\.csv, line 7: image .*image-05\.png does not exist"),
    "broken image in training": (with_broken_image, r"image-05\.png is (not an image|broken)"),
    "unknown format": (lambda p: ["data", "cocoo:x"], r"unknown data format 'cocoo' \(did you mean 'coco'\?\)"),
    "unknown data option": (lambda p: ["data", f"csv:{p.table}?emty=absent"], r"did you mean 'empty'\?"),
    "data that is not there": (lambda p: ["data", "csv:nowhere.csv"], r"nowhere\.csv does not exist"),
    "unknown split": (lambda p: ["data", f"csv:{p.table}", "--split", "tset"], r"did you mean 'test'\?"),
    "too few images": (lambda p: p.train(data=f"csv:{write_folder(p.folder / 'few', 2)}"), r"2 images cannot be split"),
    "broken JSON": (lambda p: coco(p, '{"images": [,'), r"instances\.json, line 1: not valid JSON"),
    "JSON of another kind": (lambda p: coco(p, '{"images": []}'), r"instances\.json has no list 'annotations'"),
    "no run folder": (lambda p: ["predict", p.folder / "none", p.table.parent], r"none is not a run folder"),
    "unknown known label": (
        lambda p: ["predict", p.run, p.table.parent, "--known", "dics=yes"],
        r"unknown label 'dics' \(did you mean 'disc'\?\)",
    ),
    "known label without a state": (
        lambda p: ["predict", p.run, p.table.parent, "--known", "disc"],
        r"known label 'disc': write NAME=yes or NAME=no",
    ),
    "not an image": (lambda p: p.picture("a.jpg", b"hello"), r"image .*a\.jpg is not an image"),
    "truncated JPEG": (lambda p: p.picture("a.jpg", jpeg(p.folder)[:900]), r"image .*a\.jpg is broken"),
    "zero-size image": (lambda p: p.picture("a.jpg", b""), r"image .*a\.jpg is an empty file"),
    "no image at all": (lambda p: ["predict", p.run, p.folder / "*.tiff"], r"no file matches it as a pattern"),
    "folder without images": (lambda p: ["predict", p.run, p.run / "checkpoints"], r"checkpoints has no images"),
    "unknown kind of output": (
        lambda p: ["predict", p.run, p.table.parent, "--out", "tags.xlsx"],
        r"--out tags\.xlsx: the name must end in \.csv or \.jsonl",
    ),
    "label count mismatch": (with_two_labels, r"model\.safetensors does not fit the model and the 2 labels"),
    "percentages that are none": (
        lambda p: ["evaluate", p.run, "--known-share", "a"],
        r"--known-share a: write percentages",
    ),
    "shares for percentages": (lambda p: ["evaluate", p.run, "--known-share", "0,0.25"], r"for a quarter write 25"),
    "a folder for a file to write": (
        lambda p: ["evaluate", p.run, "--out", p.table.parent],
        r"data is a folder: name a file to write",
    ),
    "a folder for a table to write": (
        lambda p: ["report", p.run, "--out", p.table.parent],
        r"data is a folder: name a file to write",
    ),
    "percentage that leaves nothing": (
        lambda p: ["evaluate", p.run, "--known-share", "90"],
        r"90% of the labels cannot be",
    ),
    "percentage above three quarters": (
        lambda p: ["evaluate", p.run, "--known-share", "76", "--data", "csv:/no/such.csv"],
        r"76% of the labels cannot be known: with scored=fixed, use at most 75%",
    ),
    "percentage below zero": (
        lambda p: ["evaluate", p.run, "--known-share", "-5", "--data", "csv:/no/such.csv"],
        r"-5% of the labels cannot be known: with scored=fixed, use at most 75%",
    ),
    "all labels known": (
        lambda p: ["evaluate", p.run, "--known-share", "100", "--scored", "unknown", "--data", "csv:/no/such.csv"],
        r"100% of the labels cannot be known: with scored=unknown, use a share below 100%",
    ),
    "known shares in two options": (
        lambda p: ["evaluate", p.run, "--known-share", "25", "--known", "50"],
        r"--known-share is given 2 times: write all percentages in one, separated by commas, as 25,50",
    ),
    "unknown recipe": (lambda p: p.train("--recipe", "scenes-ctrna"), r"did you mean 'scenes-ctran'\?"),
    "unknown recipe key": (
        lambda p: p.train("--set", "optimizer.learning_rat=1"),
        r"--set: unknown key 'optimizer\.learning_rat'",
    ),
    "misspelt recipe key": (lambda p: p.train("--set", "training.epoch=3"), r"did you mean 'epochs'\?"),
    "value out of range": (lambda p: p.train("--set", "training.epochs=0"), r"training\.epochs: .*not 0"),
    "assignment without a value": (lambda p: p.train("--set", "optimizer.lr"), r"--set optimizer\.lr: write KEY=VALUE"),
    "recipe that is no YAML": (
        lambda p: p.train("--recipe", p.file("r.yaml", "model: [\n")),
        r"recipe .*r\.yaml, line 2: not valid YAML",
    ),
    "unknown model": (lambda p: p.train("--model", "c-tran"), r"unknown model 'c-tran' \(did you mean 'ctran'\?\)"),
    "unknown model option": (
        lambda p: p.train("--set", "model.options.layer=2"),
        r"model 'evidence' has no option 'layer' \(did you mean 'layers'\?\)",
    ),
    "heads that do not divide": (lambda p: p.train("--set", "model.options.heads=3"), r"3 heads do not divide"),
    "unknown backbone": (
        lambda p: ["train", "--data", f"csv:{p.table}", "--out", p.out, "--backbone", "resnet5O"],
        r"unknown backbone 'resnet5O' \(did you mean 'resnet50'\?\)",
    ),
    "missing weights": (
        lambda p: ["train", "--data", f"csv:{p.table}", "--out", p.out, "--weights", "w.pth", "--backbone", "resnet18"],
        r"weights file .*w\.pth does not exist",
    ),
    "folder in use": (
        lambda p: ["train", "--data", "scenes?images=60", "--backbone", "tiny", "--out", p.run],
        r"is not empty: choose another --out",
    ),
    "nothing to resume": (lambda p: ["train", "--resume", "--out", p.out], r"nothing to resume"),
    "resumed with other settings": (
        lambda p: ["train", "--resume", "--out", p.run, "--set", "training.epochs=9"],
        r"--resume takes every setting from .*: leave --set out",
    ),
    "no data": (lambda p: ["train", "--out", p.out], r"no data: name it with --data"),
}


@pytest.mark.parametrize(("build", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence(
    tmp_path: Path, small_run: Path, tagformer: CommandLine, build: Callable[[Place], Arguments], sentence: str
) -> None:
    code, _, printed = tagformer(*build(Place(tmp_path, small_run)))
    last = printed.strip().splitlines()[-1]
    assert code == 2, printed
    assert last.startswith("tagformer: ")
    assert re.search(sentence, last), last
    assert "Traceback" not in printed


def test_the_shell_sees_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tagformer", "predict", tmp_path / "none", "a.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    reason = "is not a run folder: it has no recipe.yaml; 'tagformer train' makes one."
    assert done.stderr == f"tagformer: {tmp_path}/none {reason}\n"
