"""The charts of the report and of other pages, as SVG text that is part of the page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from tagformer.report.label_places import place_names
from tagformer.report.names import shorten_all

INK, FAINT, GRID, BLUE, ORANGE = "#1f2328", "#6e7781", "#eaeef2", "#0969da", "#bc4c00"
ROOMY = 60  # labels on a map of the usual size; with more it is larger
NAME_SIZE = 8  # points, of the names on a map
WIDE, HIGH = 5.2, 3.5  # inches of 72 pixels: narrow enough for a phone without making the text smaller
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tagformer",  # equal charts give equal text
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # a label's name may have dollar signs
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
}

Curve = tuple[str, Sequence[float], Sequence[float]]  # name, x, y


@contextmanager
def _figure(width: float = WIDE, height: float = HIGH) -> Iterator[tuple[Figure, Callable[[], str]]]:
    """Yield a figure in the report's style, and a function that returns its SVG text."""
    with rc_context(STYLE):
        figure = Figure((width, height), layout="constrained")

        def svg() -> str:
            text = io.StringIO()
            with warnings.catch_warnings():
                # The page's reader has other fonts: a letter that matplotlib's does not have is not lost.
                warnings.filterwarnings("ignore", message="Glyph .* missing from")
                figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
            drawn = text.getvalue()
            return re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)

        yield figure, svg


def label_map_chart(
    places: np.ndarray, names: Sequence[str], pairs: Sequence[tuple[str, str, Sequence[tuple[int, int]]]]
) -> str:
    """Labels as points in the plane, and lines between pairs of them.

    Args:
        places: (L, 2), the points.
        names: L names.
        pairs: for each kind of pair, its name, its colour, and the pairs of label numbers to connect.
    """
    scale = max(1.0, (len(names) / ROOMY) ** 0.5)
    with _figure(7.5 * scale, 6 * scale) as (figure, svg):
        axes = figure.add_subplot()
        lines = []
        for kind, colour, connected in pairs:
            for number, ends in enumerate(connected):
                x, y = places[list(ends)].T
                drawn = axes.plot(x, y, color=colour, linewidth=1.5, alpha=0.7, zorder=1)
                lines += [(drawn[0], kind)] if number == 0 else []
        axes.scatter(places[:, 0], places[:, 1], s=14, color=INK, zorder=2)
        axes.margins(0.08)
        axes.set_xticks([])
        axes.set_yticks([])
        if lines:
            _legend(axes, lines, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)
        _write_names(figure, axes, places, names)
        return svg()


def _write_names(figure: Figure, axes: Axes, places: np.ndarray, names: Sequence[str]) -> None:
    """Write a name beside each point without overprinting, with a thin line to the point where it is farther away."""
    names = shorten_all(names, lambda name: len(name) <= 28)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.draw_without_rendering()  # the layout decides where the points are
        renderer, font = canvas.get_renderer(), FontProperties(size=NAME_SIZE)
        sizes = [renderer.get_text_width_height_descent(name, font, False)[:2] for name in names]
    pixel = 72 / figure.dpi
    area = axes.get_window_extent()
    points = (axes.transData.transform(places) - (area.x0, area.y0)) * pixel
    boxes = np.array(sizes) * pixel * 1.08 + (2, 1)  # other fonts may be wider
    corners = place_names(points, boxes, area.width * pixel, area.height * pixel)
    for place, point, corner, box, name in zip(places, points, corners, boxes, names, strict=True):
        centre = corner + box / 2
        far = bool((np.abs(centre - point) > box / 2 + 8).any())
        arrow = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2} if far else None
        text = axes.annotate(
            name,
            place,
            tuple(centre - point),
            textcoords="offset points",
            fontsize=NAME_SIZE,
            ha="center",
            va="center",
            arrowprops=arrow,
        )
        text.set_in_layout(False)


def _legend(parent: Any, lines: Sequence[tuple[Any, str]], **options: Any) -> None:
    """A legend of an axes or a figure; unlike matplotlib's, it has names with an underscore at the beginning too."""
    handles = [handle for handle, _ in lines]
    legend = parent.legend(handles, ["name"] * len(handles), **options)
    for text, (_, name) in zip(legend.get_texts(), lines, strict=True):
        text.set_text(name)


def precision_recall_chart(curves: Sequence[Curve], others: Sequence[Curve]) -> str:
    """Precision over recall: `curves` in colour with a legend, `others` in grey behind them."""
    with _figure() as (figure, svg):
        axes = figure.subplots()
        for _, recall, precision in others:
            axes.plot(recall, precision, color="#d0d7de", linewidth=0.7)
        names = _short([name for name, _, _ in curves])
        lines = []
        for number, (name, (_, recall, precision)) in enumerate(zip(names, curves, strict=True)):
            lines.append((axes.plot(recall, precision, color=f"C{number}")[0], name))
        _percent_axes(axes, "recall", "precision")
        _legend(figure, lines, loc="outside lower center", ncols=2)
        return svg()


def calibration_chart(confidence: Sequence[float], frequency: Sequence[float], count: Sequence[float]) -> str:
    """A reliability curve, and below it the number of entries in each bin; see `metrics.Reliability`."""
    with _figure() as (figure, svg):
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
        filled = [i for i, number in enumerate(count) if number]
        axes.plot([confidence[i] for i in filled], [frequency[i] for i in filled], color=BLUE, marker="o", markersize=4)
        _percent_axes(axes, "", "share present")
        edges = np.linspace(0, 1, len(count) + 1)
        below.bar(edges[:-1], count, np.diff(edges), align="edge", color=BLUE, alpha=0.35, edgecolor="white")
        below.set(yscale="log", ylabel="entries", xlabel="probability")
        below.yaxis.set_major_locator(LogLocator(10, numticks=4))
        below.yaxis.set_minor_locator(NullLocator())
        below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        below.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        return svg()


def known_chart(fractions: Sequence[float], mean: Sequence[float], draws: Sequence[Sequence[float]]) -> str:
    """mAP over the share of known labels: the mean as a line, each draw as a dot."""
    with _figure() as (figure, svg):
        axes = figure.subplots()
        places = [100 * fraction for fraction in fractions]
        for place, values in zip(places, draws, strict=True):
            axes.plot(
                [place] * len(values), [100 * value for value in values], "o", color=BLUE, alpha=0.35, markersize=4
            )
        axes.plot(places, [100 * value for value in mean], color=BLUE, marker="o")
        axes.set(xlabel="labels known, %", ylabel="mAP, %")
        axes.set_xticks(places)
        return svg()


def curves_chart(curves: Sequence[Curve], x: str, y: str) -> str:
    """Several named curves, with the names of the axes `x` and `y`."""
    with _figure() as (figure, svg):
        axes = figure.subplots()
        lines = [(axes.plot(places, values)[0], name) for name, places, values in curves]
        axes.set(xlabel=x, ylabel=y)
        _legend(axes, lines)
        return svg()


def epochs_chart(curves: Sequence[Curve], label: str, from_zero: bool = False) -> str:
    """One or two figures over the epochs.

    Args:
        curves: name, epochs and values of each figure.
        label: name of the y axis.
        from_zero: begin the y axis at 0.
    """
    with _figure(WIDE, 2.6) as (figure, svg):
        axes = figure.subplots()
        for number, (name, epochs, values) in enumerate(curves):
            axes.plot(epochs, values, label=name, color=(BLUE, ORANGE)[number], marker="o", markersize=3)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if from_zero:
            axes.set_ylim(bottom=0)
        if len(curves) > 1:
            axes.legend()
        return svg()


def matrix_chart(names: Sequence[str], values: np.ndarray) -> str:
    """A matrix of shares (L, L) as coloured squares, with the labels' names on both axes."""
    with _figure(WIDE, max(2.2, 0.2 * len(names)) + 1.2) as (figure, svg):
        axes, names = figure.subplots(), _short(names, 22)
        image = axes.imshow(values, vmin=0, vmax=1, cmap="Blues", aspect="auto")
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_xticks(range(len(names)), names, fontsize=8, rotation=90)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        figure.colorbar(image, ax=axes, fraction=0.03, format=lambda value, _: f"{100 * value:.0f} %")
        return svg()


def _short(names: Sequence[str], limit: int = 28) -> list[str]:
    """Names of at most `limit` characters; see `shorten_all`."""
    return shorten_all(names, lambda name: len(name) <= limit)


def _percent_axes(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel=x, ylabel=y)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
