"""The report's charts, as SVG text that stands in the page itself."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

INK, FAINT, GRID, BLUE, ORANGE = "#1f2328", "#6e7781", "#eaeef2", "#0969da", "#bc4c00"
WIDE, HIGH = 5.2, 3.5  # inches, at 72 to the inch: what a phone shows without shrinking the text
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tagformer",  # the same picture is the same text
    "font.family": "sans-serif",
    "font.size": 10,
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
    """A figure in the report's style, and a function that gives its SVG."""
    with rc_context(STYLE):
        figure = Figure((width, height), layout="constrained")

        def svg() -> str:
            text = io.StringIO()
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
            drawn = text.getvalue()
            return re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)

        yield figure, svg


def label_map_chart(
    places: np.ndarray, names: Sequence[str], pairs: Sequence[tuple[str, str, Sequence[tuple[int, int]]]]
) -> str:
    """Labels as points in the plane, and lines between some of them.

    Args:
        places: (L, 2).
        pairs: for each kind its name, its colour, and the numbers of the labels that its lines join.
    """
    with _figure(7.5, 6) as (figure, svg):
        axes = figure.add_subplot()
        for kind, colour, joined in pairs:
            for number, ends in enumerate(joined):
                x, y = places[list(ends)].T
                axes.plot(x, y, color=colour, linewidth=1.5, alpha=0.7, label=kind if number == 0 else None, zorder=1)
        axes.scatter(places[:, 0], places[:, 1], s=14, color=INK, zorder=2)
        for (x, y), name in zip(places, names, strict=True):
            axes.annotate(name, (x, y), (3, 3), textcoords="offset points", fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
        if any(joined for _, _, joined in pairs):
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)
        return svg()


def precision_recall_chart(curves: Sequence[Curve], others: Sequence[Curve]) -> str:
    """Precision over recall: the named curves in colour, the others as a grey cloud behind them."""
    with _figure() as (figure, svg):
        axes = figure.subplots()
        for _, recall, precision in others:
            axes.plot(recall, precision, color="#d0d7de", linewidth=0.7)
        for number, (name, recall, precision) in enumerate(curves):
            axes.plot(recall, precision, label=_short(name), color=f"C{number}")
        _percent_axes(axes, "recall", "precision")
        figure.legend(loc="outside lower center", ncols=2)
        return svg()


def calibration_chart(confidence: Sequence[float], frequency: Sequence[float], count: Sequence[float]) -> str:
    """The share of positives over the probability, above the number of entries in each bin."""
    with _figure() as (figure, svg):
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
        filled = [i for i, number in enumerate(count) if number]
        axes.plot([confidence[i] for i in filled], [frequency[i] for i in filled], color=BLUE, marker="o", markersize=4)
        _percent_axes(axes, "", "were present")
        edges = np.linspace(0, 1, len(count) + 1)
        below.bar(edges[:-1], count, np.diff(edges), align="edge", color=BLUE, alpha=0.35, edgecolor="white")
        below.set(yscale="log", ylabel="entries", xlabel="probability")
        below.yaxis.set_major_locator(LogLocator(10, numticks=4))
        below.yaxis.set_minor_locator(NullLocator())
        below.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        return svg()


def known_chart(fractions: Sequence[float], mean: Sequence[float], draws: Sequence[Sequence[float]]) -> str:
    """mAP over the share of known labels, each draw as a dot."""
    with _figure() as (figure, svg):
        axes = figure.subplots()
        places = [100 * fraction for fraction in fractions]
        for place, own in zip(places, draws, strict=True):
            axes.plot([place] * len(own), [100 * value for value in own], "o", color=BLUE, alpha=0.35, markersize=4)
        axes.plot(places, [100 * value for value in mean], color=BLUE, marker="o")
        axes.set(xlabel="labels known, %", ylabel="mAP, %")
        axes.set_xticks(places)
        return svg()


def curves_chart(curves: Sequence[Curve], x: str, y: str) -> str:
    """Several named curves."""
    with _figure() as (figure, svg):
        axes = figure.subplots()
        for name, places, values in curves:
            axes.plot(places, values, label=name)
        axes.set(xlabel=x, ylabel=y)
        axes.legend()
        return svg()


def epochs_chart(curves: Sequence[Curve], label: str, from_zero: bool = False) -> str:
    """Figures over the epochs."""
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
    """A square matrix of shares (L, L), with the labels' names."""
    with _figure(WIDE, max(2.2, 0.2 * len(names)) + 1.2) as (figure, svg):
        axes, names = figure.subplots(), [_short(name, 22) for name in names]
        image = axes.imshow(values, vmin=0, vmax=1, cmap="Blues", aspect="auto")
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_xticks(range(len(names)), names, fontsize=8, rotation=90)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        figure.colorbar(image, ax=axes, fraction=0.03, format=lambda value, _: f"{100 * value:.0f} %")
        return svg()


def _short(name: str, limit: int = 28) -> str:
    """A name cut in the middle, so that charts keep their room."""
    end = limit // 2
    return name if len(name) <= limit else f"{name[: limit - end - 1]}…{name[-end:]}"


def _percent_axes(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel=x, ylabel=y)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
