"""Charts with names that matplotlib would read as something else, and names that do not lie over each other."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

from tagformer.report import charts
from tagformer.report.label_places import place_names
from tagformer.report.names import shorten_all

NAMES = ["$\\frac$", "_hidden", "a & b <c>", "\\$5 to $10", "狗", "x^2_i", "🐕"]


def texts(svg: str) -> list[str]:
    """The texts of a chart, in order."""
    found = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return [text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for text in found]


@pytest.mark.parametrize("chart", ["map", "curves", "matrix", "lines"])
def test_every_name_is_written_as_it_is_without_a_warning(chart: str) -> None:
    curves = [(name, [0.0, 1.0], [1.0, 0.5]) for name in NAMES]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if chart == "map":
            places = np.random.default_rng(0).normal(size=(len(NAMES), 2))
            svg = charts.label_map_chart(places, NAMES, [("look $alike", "red", [(0, 1)])])
        elif chart == "curves":
            svg = charts.precision_recall_chart(curves, [])
        elif chart == "matrix":
            svg = charts.matrix_chart(NAMES, np.eye(len(NAMES)))
        else:
            svg = charts.curves_chart(curves, "$x$", "y")
    assert set(NAMES) <= set(texts(svg))


def test_the_numbers_of_entries_are_written_out() -> None:
    assert "10,000" in texts(charts.calibration_chart([0.1, 0.9], [0.2, 0.8], [3, 20_000]))


@pytest.mark.parametrize("labels", [5, 40, 150])
def test_no_name_lies_over_another_one(labels: int) -> None:
    generator = np.random.default_rng(labels)
    scale = max(1.0, (labels / charts.ROOMY) ** 0.5)
    width, height = 500 * scale, 400 * scale
    points = np.concatenate([generator.uniform(0.1, 0.9, (labels // 2, 2)), generator.normal(0.5, 0.02, (99, 2))])
    points = points[:labels] * (width, height)
    sizes = np.stack([generator.uniform(15, 90, labels), np.full(labels, 10.0)], axis=1)
    corners = place_names(points, sizes, width, height)
    ends = corners + sizes
    for first in range(labels):
        for second in range(first):
            assert (corners[first] >= ends[second]).any() or (corners[second] >= ends[first]).any()
    assert (corners >= 0).all()
    assert (ends <= (width, height)).all()


def test_names_that_a_cut_would_make_equal_keep_the_part_in_which_they_differ() -> None:
    names = [f"has_the_same_long_beginning_{colour}_and_the_same_long_end" for colour in ("red", "blue", "grey")]
    short = shorten_all([*names, "dog"], lambda name: len(name) <= 20)
    assert len(set(short)) == 4
    assert all(len(name) <= 20 for name in short)
    assert short[0].startswith("…red_and")
    assert short[3] == "dog"
    assert shorten_all(["begin" + "x" * 40 + "end"], lambda name: len(name) <= 10) == ["begin…xend"]
