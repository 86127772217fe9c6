"""Tables of figures as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tagformer.files import write_text
from tagformer.safe_text import spreadsheet_cell

Cell = str | float | int
LATEX = {char: f"\\{char}" for char in "%&_#${}"} | {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\^{}"}


@dataclass(frozen=True)
class Table:
    """A table of figures, with names in its first column.

    Attributes:
        title: the title.
        header: the names of the columns.
        rows: the cells. A float is a fraction: it is printed as a percentage with one decimal, NaN as a dash. Text and
            whole numbers are printed unchanged.
        note: one sentence that explains the figures.

    >>> from tagformer.report import Table
    >>> print(Table("Scores", ("run", "mAP", "images"), [("a", 0.12345, 7)]).markdown())
    **Scores**
    <BLANKLINE>
    | run | mAP | images |
    | :-- | --: | --: |
    | a | 12.3 | 7 |
    <BLANKLINE>
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def markdown(self) -> str:
        """The title and a Markdown table below it."""
        aligned = [":--"] + ["--:"] * (len(self.header) - 1)
        cells = [[shown(cell).replace("|", "\\|") for cell in row] for row in (self.header, *self.rows)]
        lines = ["| " + " | ".join(row) + " |" for row in (cells[0], aligned, *cells[1:])]
        return "\n".join([f"**{self.title}**", "", *lines, *(["", self.note] if self.note else [])]) + "\n"

    def csv(self) -> str:
        """Comma-separated values in full precision: fractions stay fractions, NaN is an empty cell.

        Text that a spreadsheet would take for a formula begins with an apostrophe.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([_plain(cell) for cell in row] for row in (self.header, *self.rows))
        return text.getvalue()

    def latex(self) -> str:
        """A LaTeX ``tabular``, which needs the package booktabs."""
        lines = [" & ".join(_escaped(shown(cell)) for cell in row) + " \\\\" for row in (self.header, *self.rows)]
        columns = "l" + "r" * (len(self.header) - 1)
        body = "\n".join(["\\toprule", lines[0], "\\midrule", *lines[1:], "\\bottomrule"])
        return f"% {self.title}. {self.note}\n\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n"

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write ``NAME.md``, ``NAME.csv`` and ``NAME.tex``, and return their paths."""
        texts = {"md": self.markdown(), "csv": self.csv(), "tex": self.latex()}
        for kind, text in texts.items():
            write_text(folder / f"{name}.{kind}", text)
        return [folder / f"{name}.{kind}" for kind in texts]


def shown(cell: Cell) -> str:
    """A cell's text on a page: a fraction as a percentage, NaN as a dash.

    >>> from tagformer.report.tables import shown
    >>> shown(0.5), shown(7), shown(float("nan"))
    ('50.0', '7', '–')
    """
    if not isinstance(cell, float):
        return str(cell)
    return "–" if math.isnan(cell) else f"{100 * cell:.1f}"


def _plain(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return spreadsheet_cell(cell)
    return "" if isinstance(cell, float) and math.isnan(cell) else cell


def _escaped(text: str) -> str:
    return "".join(LATEX.get(char, char) for char in text)
