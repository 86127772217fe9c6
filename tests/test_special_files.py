"""Pipes, devices, sockets and folders in place of files: they are never opened, so nothing waits for ever."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tagformer.errors import BadImageError, TagformerError
from tagformer.files import is_hidden, read_bytes, read_json
from tagformer.images import load_image, open_picture
from tagformer.images.reading import read_header
from tests.helpers import CommandLine, write_folder


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's address must be short
    try:
        with socket.socket(socket.AF_UNIX) as it:
            it.bind(path.name)
    finally:
        os.chdir(before)


def folder(path: Path) -> None:
    path.mkdir()


SPECIAL = [pipe, device, unix_socket, folder]


@pytest.mark.parametrize("make", SPECIAL)
def test_an_image_is_not_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.jpg")
    for read in (load_image, open_picture, read_header):
        with pytest.raises(BadImageError, match=r"a\.jpg (is a folder|cannot be read \(not a regular file)"):
            read(tmp_path / "a.jpg")


@pytest.mark.parametrize("make", SPECIAL)
def test_a_table_is_not_opened(tmp_path: Path, tagformer: CommandLine, make: Callable[[Path], None]) -> None:
    for name in ("csv", "jsonl", "parquet", "shards", "coco", "voc2007"):
        split = tmp_path / name / {"shards": "train.tar", "coco": "train.json"}.get(name, f"train.{name}")
        split.parent.mkdir()
        make(split)
        for spec in (f"{name}:{split}", f"{name}:{split.parent}"):
            code, _, error = tagformer("data", spec)
            assert code == 2, spec
            assert "Traceback" not in error


@pytest.mark.parametrize("make", SPECIAL)
@pytest.mark.parametrize("name", ["labels.json", "recipe.yaml", "model.safetensors"])
def test_a_file_of_a_run_is_not_opened(
    small_run: Path, tmp_path: Path, tagformer: CommandLine, make: Callable[[Path], None], name: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / name).unlink()
    make(run / name)
    code, _, _ = tagformer("evaluate", run, "--workers", 0)
    assert code == 2


@pytest.mark.parametrize("make", SPECIAL)
def test_a_recipe_and_weights_are_not_opened(
    tmp_path: Path, tagformer: CommandLine, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a.yaml")
    make(tmp_path / "a.pth")
    code, _, _ = tagformer("train", "--recipe", tmp_path / "a.yaml", "--out", tmp_path / "run")
    assert code == 2
    start = ("train", "--data", "scenes?images=96", "--out", tmp_path / "run")
    code, _, _ = tagformer(*start, "--backbone", "resnet18", "--weights", tmp_path / "a.pth")
    assert code == 2


def test_a_link_to_a_regular_file_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert load_image(tmp_path / "b.png").size == (4, 4)
    assert read_bytes(tmp_path / "b.png") == (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a/" * 3000 + "a.png", "nul\0.png"])
def test_a_name_that_no_file_can_have_is_one_sentence(tmp_path: Path, name: str, tagformer: CommandLine) -> None:
    with pytest.raises(BadImageError):
        load_image(tmp_path / name)
    with pytest.raises(BadImageError):
        open_picture(tmp_path / name)
    if "\0" not in name:
        with pytest.raises(TagformerError, match=r"File name too long"):
            read_json(tmp_path / name)
        code, _, error = tagformer("data", f"csv:{tmp_path / name}")
        assert code == 2
        assert "Traceback" not in error


def test_hidden_files_are_recognised_by_any_part_of_the_path() -> None:
    hidden = ("._x.jpg", "__MACOSX/x.jpg", ".ipynb_checkpoints/x-checkpoint.png", "a/.b/c.jpg", ".DS_Store")
    assert all(is_hidden(Path(name)) for name in hidden)
    assert not any(is_hidden(Path(name)) for name in ("x.jpg", "a/b.c/x.jpg", "_x.jpg", "a__MACOSX/x.jpg"))


def test_a_table_that_names_special_files_skips_them_as_bad_images(tmp_path: Path, tagformer: CommandLine) -> None:
    table = write_folder(tmp_path / "my", 6)
    (tmp_path / "my" / "image-03.png").unlink()
    pipe(tmp_path / "my" / "image-03.png")
    code, printed, error = tagformer("data", f"csv:{table}")
    assert code in (0, 1, 2), error
    assert "image-03.png" in printed + error
