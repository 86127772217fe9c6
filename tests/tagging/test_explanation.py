"""Explanations: the peak, the pointing game, and what a tagger explains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tagformer import Tagger
from tagformer.errors import TagformerError
from tagformer.images import Preprocessing
from tagformer.tagging.explanation import Explanation, chance
from tagformer.tagging.prediction import Tag
from tests.small_models import small


def explanation(maps: torch.Tensor, region: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Explanation:
    tags = tuple(Tag(name, p, 0.5, known=False) for name, p in (("dog", 0.9), ("cat", 0.1)))
    return Explanation(tags[: len(maps)], maps, region)


def test_the_peak_and_the_pointing_game() -> None:
    heat = torch.zeros(1, 4, 5)
    heat[0, 3, 1] = 2  # the middle of that position is x = 1.5 / 5, y = 3.5 / 4
    one = explanation(heat)
    assert one.peak(0) == pytest.approx((0.3, 0.875))
    assert one.hits(0, [(0.6, 0.0, 1.0, 1.0), (0.2, 0.8, 0.4, 0.9)])
    assert not one.hits(0, [(0.31, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.87)])
    assert explanation(heat, (0.25, 0.0, 0.75, 1.0)).peak(0) == pytest.approx((0.25 + 0.5 * 0.3, 0.875))


def test_chance_is_the_joint_area_of_the_boxes() -> None:
    assert chance([(0, 0, 0.5, 0.5)]) == pytest.approx(0.25)
    assert chance([(0, 0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75)]) == pytest.approx(0.25 + 0.25 - 0.0625)
    assert chance([]) == 0


@pytest.mark.parametrize(
    ("resize", "region"),
    [("squash", (0, 0, 1, 1)), ("crop", (0.125, 0, 0.875, 1)), ("ctran", (0.05, 0.05, 0.95, 0.95))],
)
def test_the_region_is_what_the_network_sees(resize: str, region: tuple[float, ...]) -> None:
    settings = Preprocessing(size=32, resize=resize)
    tagger = Tagger(small("linear"), settings, torch.full((4,), 0.5), device="cpu")
    assert tagger.explain(Image.new("RGB", (80, 60))).region == pytest.approx(region)


def test_chance_within_a_region() -> None:
    assert chance([(0, 0, 0.5, 0.5)], (0.25, 0.25, 0.75, 0.75)) == pytest.approx(0.25)


def test_a_tagger_explains_predicted_or_requested_labels(small_run: Path) -> None:
    tagger = Tagger.load(small_run)
    picture = Image.new("RGB", (80, 60), (120, 90, 30))
    tagger.thresholds.fill_(1.1)
    prediction = tagger.predict(picture)[0]
    (best,) = tagger.explain(picture).tags
    assert best == prediction.ranked[0]
    tagger.thresholds.fill_(0)
    assert list(tagger.explain(picture).tags) == prediction.ranked
    names = tagger.label_space.names
    explanation_of_two = tagger.explain(picture, [names[2], names[0]])
    assert [tag.name for tag in explanation_of_two.tags] == [names[2], names[0]]
    assert explanation_of_two.maps.shape[0] == 2
    assert explanation_of_two.region == (0, 0, 1, 1)
    with pytest.raises(TagformerError, match="unknown label"):
        tagger.explain(picture, ["zebra"])
    with pytest.raises(TagformerError, match="is an extra label: an input only, so it has no heat map"):
        tagger.explain(picture, [tagger.label_space.extra[0]])
