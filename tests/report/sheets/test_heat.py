"""The sheets of heat maps and of channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tagformer.report.sheets import heat
from tagformer.report.sheets.channel import masked
from tagformer.report.sheets.contact import KNOWN, MISSED, PLAIN, RIGHT, WRONG
from tagformer.report.sheets.heat import caption, overlay, write_heat_sheet
from tagformer.tagging.explanation import Explanation
from tagformer.tagging.prediction import Tag

WHOLE = (0.0, 0.0, 1.0, 1.0)


def explanation(maps: torch.Tensor, region: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Explanation:
    tags = tuple(Tag(name, p, 0.5, known=False) for name, p in (("dog", 0.9), ("cat", 0.1)))
    return Explanation(tags[: len(maps)], maps, region)


def test_the_overlay_is_red_where_the_map_is_high_and_shows_the_picture_where_it_is_low() -> None:
    maps = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    picture = Image.new("RGB", (40, 40), (128, 128, 128))
    pixels = np.asarray(overlay(picture, maps[0], WHOLE)).astype(int)
    high, low = pixels[2, 2], pixels[37, 37]
    assert high[0] > high[2] + 50
    assert (abs(low - 128) <= 2).all()
    inside = np.asarray(overlay(picture, maps[0], (0.5, 0.0, 1.0, 1.0)))
    assert (inside[:, :20] == 128).all()
    assert (inside[:15, 20:25] != 128).any(axis=2).all()
    flat = np.asarray(overlay(picture, torch.full((2, 2), 3.0), WHOLE))
    assert (flat == flat[0, 0]).all()


def test_details_of_the_picture_are_seen_through_the_heat() -> None:
    stripes = np.zeros((40, 40, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = np.asarray(overlay(Image.fromarray(stripes), torch.tensor([[1.0, 0.5], [0.5, 0.0]]), WHOLE)).astype(int)
    assert (np.abs(np.diff(pixels.sum(2), axis=1)) > 60).all()


def test_a_region_beyond_the_picture_is_cut(tmp_path: Path) -> None:
    corner = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert overlay(Image.new("RGB", (40, 20)), corner, (0.2, -0.25, 0.8, 1.25)).size == (40, 20)


def test_a_sheet_names_the_image_and_the_run_and_says_where_there_is_no_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = {}
    monkeypatch.setattr(heat, "write_contact_sheet", lambda *arguments: written.update(lines=arguments[2]))
    none = Explanation((), torch.zeros(0, 2, 2), WHOLE)
    write_heat_sheet(tmp_path / "a.png", [Image.new("RGB", (9, 9))], [[none]], [{}], ["runs/a"], ["photos/x.jpg"])
    assert written["lines"] == [[("x.jpg", PLAIN), ("runs/a", PLAIN), ("no tag", PLAIN)]]


def test_captions_mark_right_wrong_missed_and_known_labels() -> None:
    one = explanation(torch.zeros(2, 2, 2))
    assert caption(one, 0, {"dog": 1}) == ("dog 90%", RIGHT)
    assert caption(one, 0, {"dog": 0}) == ("dog 90% (wrong)", WRONG)
    for unknown in ({"dog": -1}, {"cat": 1}, {}):
        assert caption(one, 0, unknown) == ("dog 90%", PLAIN)
    assert caption(one, 1, {"cat": 1}) == ("cat 10% (missed)", MISSED)
    assert caption(one, 1, {"cat": 0}) == ("cat 10%", PLAIN)
    known = Explanation((Tag("dog", 1.0, 0.5, known=True),), torch.zeros(1, 2, 2), (0, 0, 1, 1))
    assert caption(known, 0, {"dog": 0}) == ("dog (known)", KNOWN)


def test_a_thin_picture_has_an_overlay() -> None:
    thin = Image.new("RGB", (3000, 2))
    assert overlay(thin, torch.rand(2, 2), (0.4999, 0.0, 0.5001, 1.0)).size == (3000, 2)


def test_a_masked_picture_shows_the_hottest_quarter_alone() -> None:
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    picture = Image.new("RGB", (80, 80), (200, 100, 50))
    shown = np.asarray(masked(picture, rows + 0.01 * columns, WHOLE)).any(axis=2)
    assert shown.mean() == pytest.approx(0.25, abs=0.02)
    assert shown[62:].all()
    assert not shown[:55].any()
    single = torch.zeros(7, 7)
    single[2, 3] = 1  # as after a ReLU
    assert np.asarray(masked(picture, single, WHOLE)).any(axis=2).mean() < 0.2
    right_half = np.asarray(masked(picture, rows, (0.5, 0.0, 1.0, 1.0))).any(axis=2)
    assert not right_half[:, :40].any()
