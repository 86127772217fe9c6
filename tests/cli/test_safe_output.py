"""Names of labels and files reach neither a terminal's nor a spreadsheet's commands."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from rich.table import Table

from tagformer.cli.terminal.console import SafeConsole
from tagformer.data import load_dataset
from tagformer.report import Table as Figures
from tests.helpers import CommandLine

FORMULA = "=cmd|' /C calc'!A0"
ESCAPE = "\x1b]0;owned\x07"


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    """A run whose first two labels have names that a spreadsheet or a terminal would obey."""
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    content = json.loads((folder / "labels.json").read_text())
    content["names"][:2] = [FORMULA, f"dog{ESCAPE}"]
    content.pop("digest", None)
    content.pop("run", None)
    (folder / "labels.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / f"=1+1{ESCAPE}.png"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(path)
    return path


def test_no_escape_sequence_is_printed(run: Path, picture: Path, tagformer: CommandLine) -> None:
    code, printed, error = tagformer("predict", run, picture, "--top", 20, "--workers", 0)
    assert code == 0, error
    assert r"dog\x1b]0;owned\x07" in printed
    assert "\x1b" not in printed + error
    code, _, error = tagformer("predict", run, picture.with_name(f"none{ESCAPE}.png"))
    assert code == 2
    assert "\x1b" not in error
    assert error.count("\n") == 1


def test_tables_write_control_characters_out() -> None:
    stream = io.StringIO()
    table = Table(title=f"title{ESCAPE}")
    table.add_column(f"column{ESCAPE}")
    table.add_row(f"cell{ESCAPE}")
    SafeConsole(file=stream, width=80).print(table)
    assert "\x1b" not in stream.getvalue()
    for word in ("title", "column", "cell"):
        assert rf"{word}\x1b]0;owned\x07" in stream.getvalue()


def test_predictions_hold_no_formula_and_read_back(run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    (tmp_path / "-photos").mkdir()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "-photos" / "a.png")
    out = tmp_path / "tags.csv"
    code, _, error = tagformer("predict", run, tmp_path / "-photos", "--threshold", 0, "--out", out, "--workers", 0)
    assert code == 0, error
    with out.open(newline="", encoding="utf-8") as stream:
        (_, (path, tags, _)) = csv.reader(stream)
    assert path == str(tmp_path / "-photos" / "a.png")
    assert not tags.startswith(("=", "+", "-", "@"))
    assert FORMULA in load_dataset(f"csv:{out}?tags=tags", "all").label_space.names


def test_tables_of_figures_hold_no_formula() -> None:
    table = Figures("Scores", ("run", "=1+1"), [(FORMULA, -0.5)])
    assert list(csv.reader(io.StringIO(table.csv()))) == [["run", "'=1+1"], [f"'{FORMULA}", "-0.5"]]
