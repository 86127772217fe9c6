"""The command line, from a folder and a CSV to tags."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tagformer.recipes import list_recipes, load_recipe
from tests.helpers import COLOURS, CommandLine, write_folder

ODD = ("red, white; blue", "a=b", "back\\slash", "plain name")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 60 plain pictures tagged with their colour."""
    return write_folder(tmp_path_factory.mktemp("colours") / "data", 60)


def test_a_folder_and_a_csv_become_a_tagger_without_a_recipe(
    colours: Path, tmp_path: Path, tagformer: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    overrides = ["--set", "data.workers=0", "--set", "training.epochs=8", "--set", "model.options.dropout=0"]
    code, printed, _ = tagformer(
        "train", "--data", f"csv:{colours}", "--out", out, "--backbone", "tiny", "--model", "linear", *overrides[:4]
    )
    assert code == 0
    assert "Recipe linear-auto (chosen from the data by tagformer train): linear on tiny (random weights)" in printed
    assert "64 pixels, 8 epochs, batches of 6" in printed
    assert re.search(r"Training will take about \d+ (seconds|minutes) on this machine", printed)
    assert re.search(r"mAP \d+\.\d on the test split; label frequencies alone give \d+\.\d", printed)
    assert "tagformer evaluate" in printed
    files = {path.name for path in out.iterdir()}
    assert {"recipe.yaml", "labels.json", "model.safetensors", "metrics.json", "history.csv", "checkpoints"} <= files
    figures = json.loads((out / "metrics.json").read_text())
    assert figures["mAP"] > 0.9, "plain colours are easily told apart"
    # From another folder the run still finds its data.
    monkeypatch.chdir(tmp_path)
    code, printed, _ = tagformer("evaluate", out, "--workers", 0)
    assert code == 0
    assert json.loads((out / "metrics.json").read_text())["mAP"] == pytest.approx(figures["mAP"])
    code, printed, _ = tagformer("train", "--resume", "--out", out)
    assert code == 0, "a finished run resumes to its end"


def test_rare_labels_are_warned_of(tmp_path: Path, tagformer: CommandLine) -> None:
    table = write_folder(tmp_path / "data", 40)
    rows = table.read_text().splitlines()
    rows[1] += ";once"
    table.write_text("\n".join(rows))
    arguments = ["--backbone", "tiny", "--set", "training.epochs=1", "--set", "data.workers=0"]
    code, printed, _ = tagformer("train", "--data", f"csv:{table}?tags=tags", "--out", tmp_path / "run", *arguments)
    assert code == 0
    assert re.search(r"Warning: \d of 4 labels have fewer than 10 training images: .*once", printed)
    assert "--known" in printed, "C-Tran is told about known labels"


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
    from tagformer.data.formats.csv import split_tags

    assert set(split_tags(rows[0]["tags"])[:2]) == {ODD[0], ODD[2]}
    assert set(split_tags(rows[0]["tags"])) == set(ODD)
    assert tagformer("data", f"csv:{tmp_path / 'tags.csv'}", "--no-read-images")[0] == 0, "what predict writes is data"


def test_predict_on_one_image_says_what_is_below_the_threshold(
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


def test_predict_leaves_bad_images_out_when_asked(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
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


def test_evaluate_prints_the_papers_table_and_the_known_label_curve(
    small_run: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--data", "scenes?images=120", "--known", "0,25,50,75", "--draws", 2, "--workers", 0, "--out", out]
    code, printed, _ = tagformer("evaluate", small_run, *arguments)
    assert code == 0
    for name in ("mAP", "CP", "CR", "CF1", "OP", "OR", "OF1", "top 3", "75%", "mean of 2 draws"):
        assert name in printed
    figures = json.loads(out.read_text())
    assert [point["fraction"] for point in figures["known"]["curve"]] == [0, 0.25, 0.5, 0.75]
    assert all(len(point["draws"]) == 2 for point in figures["known"]["curve"])
    assert figures["images"] == 20
    assert len(figures["average_precision"]) == 12


def test_labels_that_the_data_lacks_are_said(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (64, 64), "grey").save(folder / "a.png")
    (folder / "my.csv").write_text("path,ring,disc\na.png,1,0\n")
    code, printed, _ = tagformer("evaluate", small_run, "--data", folder / "my.csv", "--split", "all", "--workers", 0)
    assert code == 0
    assert "12 of the model's labels are not in" in printed
    assert "count as unknown" in printed


def test_data_describes_and_counts(tmp_path: Path, tagformer: CommandLine) -> None:
    table = write_folder(tmp_path / "data", 9)
    (table.parent / "image-02.png").write_text("no picture")
    (table.parent / "image-04.png").unlink()
    table.write_text(table.read_text().replace("image-08.png,blue", "image-08.png,"))
    code, printed, _ = tagformer("data", f"csv:{table}")
    assert code == 0
    assert "9 images, 3 labels" in printed
    assert "labels per image  0.89 (none on 1)" in printed
    assert "unknown cells     11.1%" in printed
    assert "bad images        2" in printed
    assert "image-04.png does not exist" in printed
    assert re.search(r"red\s+│?\s+3 ", printed)
    assert "coco:" in tagformer("data")[1]


def test_models_and_recipes_are_listed(tagformer: CommandLine) -> None:
    printed = tagformer("models")[1]
    assert "ctran: The Classification Transformer." in printed
    assert "uses known labels: no" in printed
    printed = tagformer("recipes")[1]
    assert all(name in printed for name in list_recipes())
    assert "image_dropout: 0.3" in tagformer("recipes", "scenes-ctran")[1]


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, tagformer.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_only_training_imports_lightning() -> None:
    modules = "sys, tagformer.tagging.tagger, tagformer.evaluation.evaluate, tagformer.models.registry"
    code = f"import {modules}; print('lightning' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_official_coco_file_is_described_trained_on_and_evaluated(
    shared: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    spec = f"coco:{shared / 'data' / 'coco256'}"
    code, printed, _ = tagformer("data", spec)
    assert code == 0
    assert "split train: 126 images, 80 labels" in printed
    assert "split test: 128 images, 80 labels" in printed
    assert "bad images        0" in printed
    small = ["--set", "training.epochs=1", "--set", "image.size=64", "--set", "data.workers=0"]
    assert tagformer("train", "--data", spec, "--out", tmp_path / "run", "--backbone", "tiny", *small)[0] == 0
    code, printed, _ = tagformer("evaluate", tmp_path / "run", "--workers", 0)
    assert code == 0
    assert "128 images" in printed


def test_another_model_keeps_a_recipe_s_options_that_it_has_too(tmp_path: Path, tagformer: CommandLine) -> None:
    small = ("--data", "scenes?images=48", "--set", "image.size=32", "--set", "data.workers=0")
    out = tmp_path / "run"
    arguments = ("train", "--recipe", "scenes-cat", "--model", "fpn", *small, "--set", "training.epochs=1")
    code, output, error = tagformer(*arguments, "--out", out)
    assert code == 0, error
    assert "Options of cat that fpn does not have are left out: dropout." in output
    assert load_recipe(out / "recipe.yaml").model.options == {"width": 64}
