"""``tagformer train``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tagformer.recipes import load_recipe
from tests.helpers import CommandLine, write_folder


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
    assert figures["mAP"] > 0.9, "plain colours are easy to distinguish"
    # From another folder the run still finds its data.
    monkeypatch.chdir(tmp_path)
    code, printed, _ = tagformer("evaluate", out, "--workers", 0)
    assert code == 0
    assert json.loads((out / "metrics.json").read_text())["mAP"] == pytest.approx(figures["mAP"])
    code, printed, _ = tagformer("train", "--resume", "--out", out)
    assert code == 0, "a finished run resumes to its end"


def test_a_warning_names_rare_labels(tmp_path: Path, tagformer: CommandLine) -> None:
    table = write_folder(tmp_path / "data", 40)
    rows = table.read_text().splitlines()
    rows[1] += ";once"
    table.write_text("\n".join(rows))
    arguments = ["--backbone", "tiny", "--set", "training.epochs=1", "--set", "data.workers=0"]
    code, printed, _ = tagformer("train", "--data", f"csv:{table}?tags=tags", "--out", tmp_path / "run", *arguments)
    assert code == 0
    assert re.search(r"Warning: \d of 4 labels have fewer than 10 training images: .*once", printed)
    assert "--known-share 0,25,50,75" in printed, "C-Tran uses known labels"


def test_an_official_coco_file_is_described_trained_on_and_evaluated(
    shared: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    spec = f"coco:{shared / 'data' / 'coco256'}"
    code, printed, _ = tagformer("data", spec)
    assert code == 0
    assert "split train: 126 images, 80 labels" in printed
    assert "split test: 128 images, 80 labels" in printed
    assert "bad images        0" in printed
    small = ["--set", "training.epochs=1", "--set", "image.size=64", "--set", "data.workers=0", "--backbone", "tiny"]
    assert tagformer("train", "--data", spec, "--model", "linear", "--out", tmp_path / "run", *small)[0] == 0
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


@pytest.mark.parametrize("model", ["linear", "csra"])
def test_other_models_do_not_keep_the_dropout_and_the_heads_of_an_encoder(
    model: str, tmp_path: Path, tagformer: CommandLine
) -> None:
    small = ("--data", "scenes?images=48", "--set", "image.size=32", "--set", "data.workers=0")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("base: scenes-ctran\nmodel: {options: {dropout: 0.1, heads: 4}}\n")
    arguments = ("train", "--recipe", recipe, "--model", model, *small, "--set", "training.epochs=1")
    code, output, error = tagformer(*arguments, "--out", tmp_path / "run")
    assert code == 0, error
    assert "dropout" in output
    assert load_recipe(tmp_path / "run" / "recipe.yaml").model.options == {}
