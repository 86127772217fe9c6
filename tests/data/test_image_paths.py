"""Image paths that other machines wrote are found, or explained with the cure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from tagformer.data import load_dataset
from tagformer.data.load import diagnose_images
from tagformer.errors import BadImageError, TagformerError
from tests.helpers import CommandLine

COUNT = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures in photos/2024/."""
    images = tmp_path / "photos" / "2024"
    images.mkdir(parents=True)
    for number in range(COUNT):
        Image.new("RGB", (40, 40), (40 * number, 0, 0)).save(images / f"p{number}.jpg")
    return tmp_path


def table(folder: Path, form: str) -> Path:
    """A CSV whose paths have this form, with the number of the picture for #."""
    lines = ["path,tags", *(f"{form.replace('#', str(number))},{'ab'[number % 2]}" for number in range(COUNT))]
    file = folder / "my.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "form",
    ["photos\\2024\\p#.jpg", "photos/2024/p#.JPG", "Photos/2024/P#.jpg", "photos/2024/p#", "/photos/2024/p#.jpg"],
)
def test_another_notation_of_a_path_is_found_and_counted(folder: Path, form: str) -> None:
    dataset = load_dataset(f"csv:{table(folder, form)}", "all")
    assert list(dataset.images) == [folder / "photos" / "2024" / f"p{number}.jpg" for number in range(COUNT)]
    assert list(dataset.ids) == [form.replace("#", str(number)) for number in range(COUNT)], "ids stay as written"
    assert [warning for warning in dataset.warnings if "6 images were found under another name" in warning]
    assert len(load_dataset(f"csv:{folder / 'my.csv'}", "train").warnings) == 1


def test_exact_paths_give_no_warning_and_an_ambiguous_case_is_not_guessed(folder: Path) -> None:
    assert load_dataset(f"csv:{table(folder, 'photos/2024/p#.jpg')}", "all").warnings == ()
    (folder / "photos" / "2024" / "P3.JPG").write_bytes(b"another")
    file = table(folder, "photos/2024/p#.Jpg")
    with pytest.raises(BadImageError, match=r"line 5: image .*p3\.Jpg does not exist: fix the path"):
        load_dataset(f"csv:{file}", "all")


FOREIGN = {
    "C:\\Users\\me\\data\\2024\\p#.jpg": "a path of a Windows machine",
    "https://example.org/data/2024/p#.jpg": "is a URL",
    "/home/me/data/2024/p#.jpg": "an absolute path, perhaps of another machine",
    "data/2024/p#.jpg": "is not below",
}


@pytest.mark.parametrize("form", FOREIGN)
def test_another_root_is_explained_and_the_proposed_option_works(folder: Path, form: str) -> None:
    file = table(folder, form)
    with pytest.raises(BadImageError, match=FOREIGN[form]) as caught:
        load_dataset(f"csv:{file}", "all")
    message = str(caught.value)
    assert "my.csv, line 2: none of the 6 image files exists" in message
    proposed = re.search(r"add \?images=(\S+) to the address", message)
    assert proposed, message
    dataset = load_dataset(f"csv:{file}?images={proposed[1]}", "all")
    assert [image.name for image in dataset.images if isinstance(image, Path) and image.is_file()] == [
        f"p{number}.jpg" for number in range(COUNT)
    ]


def test_the_option_is_not_proposed_where_it_is_used_already(folder: Path) -> None:
    (folder / "empty").mkdir()
    file = table(folder, "elsewhere/q#.jpg")
    with pytest.raises(TagformerError, match=r"name the folder of the images with \?images=FOLDER") as caught:
        load_dataset(f"csv:{file}", "all", on_bad_image="skip")
    with pytest.raises(BadImageError, match=r"empty \(\?images=\) has no such images either: name another folder"):
        load_dataset(f"csv:{file}?images={folder / 'empty'}", "all")
    assert "elsewhere/q0.jpg" in str(caught.value)


def test_images_with_the_same_name_in_other_folders_are_not_mixed_up(folder: Path) -> None:
    """Only what follows a common root is looked for below ?images=, never a bare name."""
    lines = ["path,tags", *(f"/data/{year}/p{number}.jpg,a" for year in (2023, 2024) for number in range(3))]
    (folder / "my.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    dataset = load_dataset(f"csv:{folder / 'my.csv'}?images={folder / 'photos'}", "all", on_bad_image="skip")
    assert list(dataset.ids) == [f"/data/2024/p{number}.jpg" for number in range(3)]


def test_data_ends_with_2_where_nothing_can_be_read(folder: Path, tagformer: CommandLine) -> None:
    code, printed, problem = tagformer("data", f"csv:{table(folder, 'C:/x/p#.jpg')}")
    assert code == 2
    assert "6 images, 2 labels" in printed
    assert "is a path of a Windows machine" in problem.splitlines()[-1]
    spec = f"csv:{table(folder, 'photos/2024/p#.jpg')}"
    assert diagnose_images(spec, load_dataset(spec, "all")) is None
    assert tagformer("data", spec)[0] == 0
    for number in range(COUNT):
        (folder / "photos" / "2024" / f"p{number}.jpg").write_bytes(b"text")
    code, _, problem = tagformer("data", spec)
    assert code == 2
    assert "none of its images can be read" in problem.splitlines()[-1]
