"""``tagformer explain``: the sheet, the arrays, and errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tagformer import Tagger
from tagformer.data import load_dataset
from tagformer.report.sheets import heat as heat_sheet
from tagformer.report.sheets.heat import SIDE
from tagformer.runs.run import Run, write_weights
from tests.helpers import CommandLine

WHOLE = (0.0, 0.0, 1.0, 1.0)


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `write_heat_sheet` was called with."""
    called: list[tuple[Any, ...]] = []
    original = heat_sheet.write_heat_sheet

    def noted(*arguments: Any) -> None:
        called.append(arguments)
        original(*arguments)

    monkeypatch.setattr(heat_sheet, "write_heat_sheet", noted)
    return called


def test_explain_writes_a_sheet_and_arrays_of_the_test_split(
    tagformer: CommandLine, small_run: Path, tmp_path: Path, sheets: list[tuple[Any, ...]]
) -> None:
    out = tmp_path / "why"
    options = ("--labels", "disc,ring", "--count", 3, "--beside", small_run)
    code, _, error = tagformer("explain", small_run, "--out", out, *options)
    assert code == 0, error
    assert Image.open(out / "heat_maps.png").width > 3 * 170
    with np.load(out / "heat_maps.npz") as arrays:
        assert {key.split("/", 1)[0] for key in arrays} == {"0", "1", "2"}
        assert "0/1/maps" not in arrays  # the same run is shown once
        assert arrays["2/0/labels"].tolist() == ["disc", "ring"]
        assert arrays["2/0/maps"].shape[0] == 2
        assert arrays["2/0/region"].tolist() == [0, 0, 1, 1]
    ((_, pictures, explanations, truths, names, _),) = sheets
    test = load_dataset("scenes?images=96&faint=0", "test")
    expected = [
        dict(zip(test.label_space.names, record.labels.tolist(), strict=True)) for record in test.sample_evenly(3)
    ]
    assert truths == expected
    assert names == [str(small_run)]
    assert len(pictures) == len(explanations) == 3


def test_predicted_and_missed_labels_are_shown(
    tagformer: CommandLine, small_run: Path, tmp_path: Path, sheets: list[tuple[Any, ...]]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    labels = json.loads((run / "labels.json").read_text())
    names = labels["names"]
    for thresholds, known in ((1.0, []), (0.0, []), (1.0, ["--known", f"{names[0]}=yes,{names[1]}=no"])):
        Run.load(run).save_thresholds(torch.full((len(names),), thresholds), 1.0)
        code, _, error = tagformer("explain", run, "--out", tmp_path / "why", "--count", 8, "--most", 2, *known)
        assert code == 0, error
        _, _, explanations, truths, _, _ = sheets[-1]
        for (one,), truth in zip(explanations, truths, strict=True):
            shown = [tag.name for tag in one.tags]
            targets = [name for name in names if name not in labels["extra"]]
            there = [name for name in targets if truth[name] == 1]
            if thresholds == 0:  # everything is predicted, the two most probable are shown
                assert len(shown) == 2
            elif known:
                assert shown[0] == names[0]  # a known label is certain, and never missed
                assert shown[1:] == [name for name in there if name not in names[:2]][:2]
            elif there:
                assert shown == there[:2]


def test_two_runs_are_drawn_below_each_other_with_different_maps(
    tagformer: CommandLine, small_run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(small_run, other)
    state = load_file(other / "model.safetensors")
    changed = {name: value * 1.5 if value.is_floating_point() else value for name, value in state.items()}
    write_weights(other, changed)
    heights = []
    for number, beside in enumerate(([], ["--beside", other])):
        out = tmp_path / f"why{number}"
        code, _, error = tagformer("explain", small_run, "--out", out, "--count", "2", "--labels", "disc", *beside)
        assert code == 0, error
        heights.append(Image.open(out / "heat_maps.png").height)
    assert heights[1] == pytest.approx(2 * heights[0] - 60, abs=20)  # the legend is there once
    with np.load(out / "heat_maps.npz") as arrays:
        assert not np.allclose(arrays["1/0/maps"], arrays["1/1/maps"])


def test_explain_takes_images_and_skips_bad_ones_on_request(
    tagformer: CommandLine, small_run: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (50, 40), (200, 90, 30)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    arguments = ("explain", small_run, tmp_path, "--out", tmp_path / "why")
    code, _, error = tagformer(*arguments)
    assert code == 2
    assert "b.png" in error
    code, printed, error = tagformer(*arguments, "--on-bad-image", "skip")
    assert code == 0, error
    assert "1 images" in printed
    assert "left out" in error
    with np.load(tmp_path / "why" / "heat_maps.npz") as arrays:
        assert str(arrays["0/image"]) == str(tmp_path / "a.png")
        assert "1/image" not in arrays


def test_explain_rejects_contradicting_arguments(tagformer: CommandLine, small_run: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    for arguments, sentence in (
        ((tmp_path / "a.png", "--out", tmp_path / "why", "--split", "test"), "not both"),
        (("--out", tmp_path / "a.png"), "is a file"),
        (("--out", tmp_path / "why", "--labels", "zebra"), "unknown label 'zebra'"),
        (
            ("--out", tmp_path / "why", "--labels", "night"),
            "'night' is an extra label: an input only, so it has no heat map.",
        ),
    ):
        code, _, error = tagformer("explain", small_run, *arguments)
        assert code == 2
        assert sentence in error


def test_explain_draws_channels_of_the_last_map(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    out = tmp_path / "why"
    code, output, error = tagformer("explain", small_run, "--out", out, "--count", 2, "--channels", "3,17")
    assert code == 0, error
    assert "channels.png" in output
    with Image.open(out / "channels.png") as sheet:
        assert sheet.width == 5 * (SIDE + 10) + 10  # the picture, and a map and its hottest part for each channel
    tagger = Tagger.load(small_run)
    found, region = tagger.last_map(Image.new("RGB", (80, 60), (9, 90, 200)))
    assert found.shape == (128, 4, 4)
    assert region == pytest.approx(WHOLE)
    for wrong in ("128", "-1", "x"):
        code, _, error = tagformer("explain", small_run, "--out", out, "--channels", wrong)
        assert code == 2
        assert f"'{wrong}' is not a channel: give numbers from 0 to 127." in error
