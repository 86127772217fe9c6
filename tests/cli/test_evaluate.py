"""``tagformer evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tagformer.cli.terminal.console import advise_tuning
from tagformer.runs import Run
from tests.helpers import CommandLine, evaluation_of


def test_evaluate_prints_the_papers_table_and_the_known_label_curve(
    small_run: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--data", "scenes?images=120", "--draws", 2, "--workers", 0, "--out", out]
    code, printed, _ = tagformer("evaluate", small_run, "--known-share", "0,25,50,75", *arguments)
    assert code == 0
    assert "its mAP at 0 % is not the one above" in " ".join(printed.split())
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


def test_tuned_on_a_run_that_is_not_tuned_is_one_sentence(small_run: Path, tagformer: CommandLine) -> None:
    code, _, error = tagformer("evaluate", small_run, "--tuned")
    assert code == 2
    assert "is not tuned: run 'tagformer tune" in " ".join(error.split())


@pytest.mark.parametrize(("scale", "advised"), [(0.001, True), (50.0, False)])
def test_tuning_is_advised_where_few_labels_reach_the_threshold(
    scale: float, advised: bool, capsys: pytest.CaptureFixture[str], small_run: Path
) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(80, 3, generator=generator) < 0.2).to(torch.int8)
    logits = scale * (labels + 0.3 * torch.randn(80, 3, generator=generator) - 0.5) - (1 if scale < 1 else 0)
    advise_tuning(Run.load(small_run), evaluation_of(logits, labels))
    printed = " ".join(capsys.readouterr().out.split())
    assert ("chooses a threshold for each label" in printed) == advised
