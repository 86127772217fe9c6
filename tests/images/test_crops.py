from __future__ import annotations

from collections import Counter

import pytest
import torch

from tagformer.images import crops

DRAWS = 4000


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def drawn(crop: crops.Crop, width: int, height: int) -> list[crops.Region]:
    return [crop(width, height) for _ in range(DRAWS)]


def test_the_whole_the_centre_and_the_middle() -> None:
    assert crops.whole(500, 300) == (0, 0, 500, 300)
    assert crops.centre(500, 300) == (100, 0, 300, 300)
    assert crops.centre(300, 500) == (0, 100, 300, 300)
    assert crops.middle(0.9)(500, 300) == pytest.approx((25, 15, 450, 270))


@pytest.mark.parametrize("crop", [crops.random_area((0.3, 1.0)), crops.multi_scale(), crops.random_square()])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (33, 500), (1, 1)])
def test_crops_stay_within_the_image(crop: crops.Crop, width: int, height: int) -> None:
    for left, top, wide, high in drawn(crop, width, height):
        assert left >= 0
        assert top >= 0
        assert wide > 0
        assert high > 0
        assert left + wide <= width + 1e-9
        assert top + high <= height + 1e-9


def test_a_random_area_has_the_given_share_and_a_moderate_shape() -> None:
    for _, _, wide, high in drawn(crops.random_area((0.3, 0.5)), 640, 480):
        assert 0.29 < wide * high / (640 * 480) < 0.51
        assert 0.74 < wide / high < 1.35


def test_multi_scale_crops_are_those_of_ml_gcn() -> None:
    """At 512 x 512: the 19 pairs of sides at most two scales apart, each at the 13 places of the list."""
    sides = (512, 448, 384, 337.92, 256)
    pairs = {(a, b) for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) <= 2}
    assert len(pairs) == 19
    sizes = Counter((round(w, 2), round(h, 2)) for _, _, w, h in drawn(crops.multi_scale(), 512, 512))
    assert set(sizes) == pairs
    assert min(sizes.values()) > DRAWS / 19 * 0.7
    places = Counter(
        (round(4 * left / (512 - w)), round(4 * top / (512 - h)))
        for left, top, w, h in drawn(crops.multi_scale(), 512, 512)
        if w < 512 and h < 512
    )
    corners, edges, centre = {(0, 0), (4, 0), (0, 4), (4, 4)}, {(2, 0), (0, 2), (4, 2), (2, 4)}, {(2, 2)}
    assert set(places) == corners | edges | centre | {(1, 1), (3, 1), (1, 3), (3, 3)}
    assert min(places.values()) > sum(places.values()) / 13 * 0.7


def test_c_trans_crops_are_squares_of_five_sides_anywhere() -> None:
    regions = drawn(crops.random_square(), 640, 640)
    assert {round(w) for _, _, w, _ in regions} == {640, 576, 512, 384, 320}
    assert all(w == h for _, _, w, h in regions)
    lefts = [left for left, _, w, _ in regions if round(w) == 320]
    assert min(lefts) < 10
    assert max(lefts) > 310
