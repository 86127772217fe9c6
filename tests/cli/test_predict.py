"""``tagformer predict``."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tagformer.data import load_dataset
from tests.helpers import COLOURS, CommandLine

ODD = ("red, white; blue", "a=b", "back\\slash", "plain name")


def test_names_with_separators_survive_csv_and_known(tmp_path: Path, tagformer: CommandLine) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / "my.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", *ODD))
        for number in range(40):
            name = list(COLOURS)[number % 3]
            Image.new("RGB", (32, 32), COLOURS[name]).save(folder / f"{number}.png")
            writer.writerow((f"{number}.png", *(int(number % 4 == k) for k in range(4))))
    arguments = ["--backbone", "tiny", "--set", "training.epochs=1", "--set", "data.workers=0"]
    assert tagformer("train", "--data", folder / "my.csv", "--out", tmp_path / "run", *arguments)[0] == 0
    known = [r"red\, white; blue=yes,a=b=no", "--known", r"back\\slash=yes"]
    code, _, _ = tagformer(
        "predict", tmp_path / "run", folder / "0.png", "--known", *known, "--out", tmp_path / "tags.csv", "--top", 4
    )
    assert code == 0
    rows = list(csv.DictReader((tmp_path / "tags.csv").open(newline="")))
    from tagformer.data.formats._common.cells import split_tags

    assert set(split_tags(rows[0]["tags"])[:2]) == {ODD[0], ODD[2]}
    assert set(split_tags(rows[0]["tags"])) == set(ODD)
    assert tagformer("data", f"csv:{tmp_path / 'tags.csv'}", "--no-read-images")[0] == 0, "what predict writes is data"


def test_predict_on_one_image_prints_the_labels_below_the_threshold(
    small_run: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "white").save(picture)
    code, printed, _ = tagformer("predict", small_run, picture, "--threshold", 1)
    assert code == 0
    assert re.search(r"below the threshold: \w+ \d+\.\d%, \w+ \d+\.\d%, \w+ \d+\.\d%", printed)
    code, printed, _ = tagformer("predict", small_run, picture, "--threshold", 0.01, "--known", "disc=yes,ring=no")
    assert re.search(r"disc\s+100\.0%  \(known\)", printed)
    assert re.search(r"square\s+\d+\.\d%  \(threshold 0\.01\)", printed)
    assert not re.search(r"ring", printed), "what was ruled out is not offered"


def test_predict_takes_folders_patterns_and_standard_input(
    small_run: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    for name in ("x/1.png", "x/deep/2.PNG", "x/3.jpg", "x/notes.txt", "4.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("no picture")
        else:
            Image.new("RGB", (64, 64), "grey").save(path)
    out = tmp_path / "tags.jsonl"
    arguments = [tmp_path / "x", tmp_path / "x" / "*.png", "-"]
    code, printed, _ = tagformer("predict", small_run, *arguments, "--out", out, standard_input=f"{tmp_path}/4.png\n")
    assert code == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(Path(line["image"]).name for line in lines) == ["1.png", "2.PNG", "3.jpg", "4.png"]
    assert all(len(line["probabilities"]) == 12 for line in lines), "extra labels are not predicted"
    assert "4 images tagged, 0 left out" in printed


def test_predict_skips_bad_images_on_request(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no picture")
    out = tmp_path / "tags.csv"
    assert tagformer("predict", small_run, tmp_path, "--out", out)[0] == 2
    assert not out.exists(), "nothing half written is left"
    sheet = tmp_path / "sheet.png"
    code, printed, problems = tagformer(
        "predict", small_run, tmp_path, "--out", out, "--sheet", sheet, "--on-bad-image", "skip"
    )
    assert code == 0
    assert "bad.png is not an image" in problems
    assert "1 images tagged, 1 left out" in printed
    assert [Path(row["path"]).name for row in csv.DictReader(out.open())] == ["good.png"]
    assert Image.open(sheet).size[0] > 150


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_what_predict_writes_is_data_from_another_folder(
    small_run: Path, tmp_path: Path, tagformer: CommandLine, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    for name in ("a.png", "deep/b.png"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), "white").save(tmp_path / "here" / name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    absolute = str(tmp_path / "here" / "deep")
    for images, out in (([".", "deep"], f"../elsewhere/tags.{suffix}"), ([absolute], f"../elsewhere/more.{suffix}")):
        code, _, error = tagformer("predict", small_run, *images, "--threshold", 0, "--workers", 0, "--out", out)
        assert code == 0, error
    monkeypatch.chdir("/")
    dataset = load_dataset(f"{suffix}:{tmp_path / 'elsewhere' / f'tags.{suffix}'}", "all")
    assert {Path(image).resolve() for image in dataset.images} == {  # type: ignore[arg-type]
        tmp_path / "here" / "a.png",
        tmp_path / "here" / "deep" / "b.png",
    }
    assert len(dataset.label_space) == 14 - 2  # labels of the run that are predicted, not the extra ones
    assert len(load_dataset(f"{suffix}:{tmp_path / 'elsewhere' / f'more.{suffix}'}", "all")) == 1


def test_files_in_a_folder_that_are_passed_over_are_counted(
    tmp_path: Path, small_run: Path, tagformer: CommandLine
) -> None:
    folder = tmp_path / "photos"
    for name in ("a.png", "deep/b.png", "._a.png", "__MACOSX/._b.png", ".ipynb_checkpoints/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(folder / name)
    (folder / "c.raw1").write_bytes(b"raw")
    (folder / "again").symlink_to(folder)
    code, printed, notes = tagformer("predict", small_run, folder, "--out", tmp_path / "tags.csv", "--workers", 0)
    assert code == 0, notes
    assert "2 images tagged, 0 left out" in printed
    assert f"{folder}: passed over: 1 .raw1, 3 hidden, 1 links to folders" in notes
    for file in ("a.png", "deep/b.png"):
        (folder / file).unlink()
    code, _, problem = tagformer("predict", small_run, folder)
    assert code == 2
    assert "has no images" in problem
    assert "but 1 .raw1, 3 hidden" in problem
