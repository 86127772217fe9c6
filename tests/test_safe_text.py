"""Text from data, made harmless for spreadsheets and terminals."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from tagformer.data import load_dataset
from tagformer.data.formats._common.cells import join_tags
from tagformer.safe_text import data_cell, original_cell, printable, spreadsheet_cell

STARTS = ("=", "+", "-", "@", "\t", "\r")


def random_cells(count: int) -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices("'=+-@;\t1.e ax", k=draw.randint(0, 5))) for _ in range(count)]


def test_no_cell_begins_like_a_formula_and_each_reads_back() -> None:
    for cell in random_cells(20_000):
        safe = spreadsheet_cell(cell)
        assert original_cell(safe) == cell
        assert original_cell(data_cell(cell)) == cell
        if safe.startswith(STARTS):
            float(safe)  # only a number stays


@pytest.mark.parametrize("cell", ["=cmd|' /C calc'!A0", "+1+1", "-a", "@SUM(A1)", "\t=1", "\r=1", "-1-1"])
def test_what_a_spreadsheet_would_compute_becomes_text(cell: str) -> None:
    assert spreadsheet_cell(cell) == f"'{cell}"
    assert data_cell(cell) == cell


@pytest.mark.parametrize("cell", ["dog", "-0.25", "+1e-4", "1", "", ".5", "a=b", "'dog'"])
def test_numbers_and_other_text_stay(cell: str) -> None:
    assert spreadsheet_cell(cell) == data_cell(cell) == original_cell(cell) == cell


def test_the_reader_of_csv_takes_the_apostrophe_away(tmp_path: Path) -> None:
    names = ["=cmd|' /C calc'!A0", "dog"]
    with (tmp_path / "my.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "tags"])
        writer.writerow([spreadsheet_cell("-a.jpg"), spreadsheet_cell(join_tags(names))])
        writer.writerow(["b.jpg", data_cell("'@x")])
    dataset = load_dataset(f"csv:{tmp_path / 'my.csv'}", "all", "keep")
    assert dataset.label_space.names == ("'@x", "=cmd|' /C calc'!A0", "dog")
    assert dataset.ids[0] == "-a.jpg"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dog\x1b[2J", r"dog\x1b[2J"),
        ("a\x07\x08\x7f\x9b", r"a\x07\x08\x7f\x9b"),
        ("gpj.\u202ecat", r"gpj.\u202ecat"),
        ("caf\udce9", r"caf\xe9"),
        ("one\rtwo", r"one\x0dtwo"),
        ("Ärger 犬\n\t👩‍🚀", "Ärger 犬\n\t👩‍🚀"),
    ],
)
def test_a_terminal_gets_no_control_characters(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()  # no lone surrogates
