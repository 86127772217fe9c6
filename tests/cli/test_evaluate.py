"""``tagformer evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from tests.helpers import CommandLine


def test_evaluate_prints_the_papers_table_and_the_known_label_curve(
    small_run: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--data", "scenes?images=120", "--draws", 2, "--workers", 0, "--out", out]
    code, printed, _ = tagformer("evaluate", small_run, "--known-share", "0,25,50,75", *arguments)
    assert code == 0
    for name in ("mAP", "CP", "CR", "CF1", "OP", "OR", "OF1", "top 3", "75%", "mean of 2 draws"):
        assert name in printed
    figures = json.loads(out.read_text())
    assert [point["fraction"] for point in figures["known"]["curve"]] == [0, 0.25, 0.5, 0.75]
    assert all(len(point["draws"]) == 2 for point in figures["known"]["curve"])
    assert figures["images"] == 20
    assert len(figures["average_precision"]) == 12


def test_labels_that_the_data_does_not_have_are_reported(
    small_run: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (64, 64), "grey").save(folder / "a.png")
    (folder / "my.csv").write_text("path,ring,disc\na.png,1,0\n")
    code, printed, _ = tagformer("evaluate", small_run, "--data", folder / "my.csv", "--split", "all", "--workers", 0)
    assert code == 0
    assert "12 of the model's labels are not in" in printed
    assert "count as unknown" in printed


def test_the_earlier_spellings_of_options_still_work(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    figures = []
    for number, options in enumerate((("--known-share", "50", "--extra-known"), ("--known", "50", "--tell-extra"))):
        out = tmp_path / f"{number}.json"
        code, _, error = tagformer("evaluate", small_run, *options, "--draws", 1, "--workers", 0, "--out", out)
        assert code == 0, error
        figures.append(json.loads(out.read_text()))
    assert figures[0] == figures[1]
    assert figures[0]["known"]["curve"][0]["fraction"] == 0.5
