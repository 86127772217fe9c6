"""The sheets of heat maps and of channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tagformer.report.sheets.channel import masked
from tagformer.report.sheets.contact import KNOWN, PLAIN, RIGHT
from tagformer.report.sheets.heat import BROWN, RED, caption, overlay
from tagformer.tagging.explanation import Explanation
from tagformer.tagging.prediction import Tag

WHOLE = (0.0, 0.0, 1.0, 1.0)


def explanation(maps: torch.Tensor, region: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Explanation:
    tags = tuple(Tag(name, p, 0.5, known=False) for name, p in (("dog", 0.9), ("cat", 0.1)))
    return Explanation(tags[: len(maps)], maps, region)


def test_the_overlay_is_red_where_the_map_is_high_and_blue_where_it_is_low() -> None:
    heat = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    picture = Image.new("RGB", (40, 40), (128, 128, 128))
    pixels = np.asarray(overlay(picture, heat[0], WHOLE)).astype(int)
    high, low = pixels[2, 2], pixels[37, 37]
    assert high[0] > high[2] + 50
    assert low[2] > low[0]
    inside = np.asarray(overlay(picture, heat[0], (0.5, 0.0, 1.0, 1.0)))
    assert (inside[:, :20] == 128).all()
    assert (inside[:, 20:] != 128).any(axis=2).all()
    flat = np.asarray(overlay(picture, torch.full((2, 2), 3.0), WHOLE))
    assert (flat == flat[0, 0]).all()


def test_captions_mark_right_wrong_missed_and_known_labels() -> None:
    one = explanation(torch.zeros(2, 2, 2))
    assert caption(one, 0, {"dog": 1}) == ("dog 90%", RIGHT)
    assert caption(one, 0, {"dog": 0}) == ("dog 90% (wrong)", BROWN)
    for unknown in ({"dog": -1}, {"cat": 1}, {}):
        assert caption(one, 0, unknown) == ("dog 90%", PLAIN)
    assert caption(one, 1, {"cat": 1}) == ("cat 10% (missed)", RED)
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
