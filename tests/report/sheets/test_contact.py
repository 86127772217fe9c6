from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from tagformer.errors import TagformerError
from tagformer.report.sheets.contact import (
    KNOWN,
    LINE,
    MARGIN,
    MISSED,
    PLAIN,
    RIGHT,
    WRONG,
    tag_lines,
    write_contact_sheet,
)

SIDE = 60


def sheet(path: Path, *pictures: Image.Image, lines: list[list[tuple[str, str]]] | None = None) -> np.ndarray:
    write_contact_sheet(path, pictures, lines or [[] for _ in pictures], columns=2, side=SIDE)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


def cell(pixels: np.ndarray, row: int, column: int, height: int) -> np.ndarray:
    """The square of a picture, where every row above has `height` pixels."""
    top, left = MARGIN + row * height, MARGIN + column * (SIDE + MARGIN)
    return pixels[top : top + SIDE, left : left + SIDE]


# The lines


def test_right_wrong_and_missed_labels_have_their_colours() -> None:
    lines = tag_lines([("dog", 0.91), ("cat", 0.506)], ["dog", "cow"])
    assert lines == [("dog 91%", RIGHT), ("cat 51%", WRONG), ("missed: cow", MISSED)]


def test_without_the_truth_labels_are_plain_and_none_is_missed() -> None:
    assert tag_lines([("dog", 0.91)], None) == [("dog 91%", PLAIN)]


def test_an_image_without_labels_has_only_wrong_ones() -> None:
    assert tag_lines([("dog", 0.9)], []) == [("dog 90%", WRONG)]
    assert tag_lines([], []) == [("no tag", PLAIN)]
    assert tag_lines([], ["cow"]) == [("no tag", PLAIN), ("missed: cow", MISSED)]


def test_known_labels_are_marked_and_not_judged() -> None:
    lines = tag_lines([("dog", 1.0), ("cat", 0.7)], ["cat"], known=["dog"])
    assert lines == [("dog (known)", KNOWN), ("cat 70%", RIGHT)]


def test_the_colours_differ() -> None:
    assert len({ImageColor.getrgb(colour) for colour in (RIGHT, WRONG, MISSED, KNOWN, PLAIN)}) == 5


# The sheet


def test_pictures_are_in_rows_below_one_another(tmp_path: Path) -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    pixels = sheet(tmp_path / "sheet.png", *(Image.new("RGB", (SIDE, SIDE), colour) for colour in colours))
    row = SIDE + LINE + 2 * MARGIN
    assert pixels.shape == (2 * row + MARGIN, 2 * (SIDE + MARGIN) + MARGIN, 3)
    for (place, column), colour in zip([(0, 0), (0, 1), (1, 0)], colours, strict=True):
        assert (cell(pixels, place, column, row) == colour).all()
    assert (cell(pixels, 1, 1, row) == 255).all()


@pytest.mark.parametrize(("size", "shown"), [((120, 60), (60, 30)), ((20, 60), (20, 60)), ((10, 30), (20, 60))])
def test_a_picture_keeps_its_shape_and_is_in_the_middle(
    tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    pixels = sheet(tmp_path / "sheet.png", Image.new("RGB", size, "red"))
    red = (cell(pixels, 0, 0, 0) == (255, 0, 0)).all(2)
    rows, columns = np.nonzero(red)
    assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == shown
    assert red.sum() == shown[0] * shown[1]
    assert (columns.min(), rows.min()) == ((SIDE - shown[0]) // 2, (SIDE - shown[1]) // 2)


def test_lines_are_below_their_picture_in_their_colour(tmp_path: Path) -> None:
    picture = Image.new("RGB", (SIDE, SIDE), "black")
    lines = [[("dog", RIGHT), ("cat", WRONG)], []]
    pixels = sheet(tmp_path / "sheet.png", picture, picture, lines=lines)
    assert pixels.shape[0] == SIDE + 2 * LINE + 3 * MARGIN
    below = pixels[MARGIN + SIDE :]
    left, right = below[:, : MARGIN + SIDE], below[:, MARGIN + SIDE :]
    assert (right == 255).all()
    for number, colour in enumerate((RIGHT, WRONG)):
        ink = 255.0 - left[4 + number * LINE : 4 + (number + 1) * LINE]  # the difference of the text from white
        shades = ink[ink.any(2)]
        assert shades.max() > 60
        full = 255.0 - np.array(ImageColor.getrgb(colour))
        share = shades.max(1, keepdims=True) / full.max()  # letters have soft edges
        assert np.abs(shades - share * full).max() < 3


def test_a_long_name_does_not_run_into_the_next_picture(tmp_path: Path) -> None:
    picture = Image.new("RGB", (SIDE, SIDE), "black")
    lines = [[("has_upperparts_color::iridescent 99%", RIGHT)], []]
    pixels = sheet(tmp_path / "sheet.png", picture, picture, lines=lines)
    below = pixels[MARGIN + SIDE :]
    assert (below[:, : MARGIN + SIDE] != 255).any()
    assert (below[:, MARGIN + SIDE :] == 255).all()


def test_names_that_differ_in_the_middle_look_different_and_keep_their_probability(tmp_path: Path) -> None:
    picture = Image.new("RGB", (SIDE, SIDE), "black")
    names = [f"a_long_beginning_{colour}_and_a_long_end" for colour in ("red", "blue")]
    pixels = sheet(tmp_path / "sheet.png", picture, picture, lines=[[(f"{name} 7%", PLAIN)] for name in names])
    below = pixels[MARGIN + SIDE :]
    first, second = below[:, MARGIN : MARGIN + SIDE], below[:, 2 * MARGIN + SIDE : 2 * (MARGIN + SIDE)]
    assert not np.array_equal(first, second)
    assert np.array_equal(first[:, -12:], second[:, -12:]) or (first[:, -25:] != 255).any()  # the probability


def test_a_sheet_replaces_the_one_before_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    file = tmp_path / "new" / "sheet.png"
    first = sheet(file, Image.new("RGB", (SIDE, SIDE), "red"))
    second = sheet(file, Image.new("RGB", (SIDE, SIDE), "blue"))
    assert first.shape == second.shape
    assert not np.array_equal(first, second)
    assert list(file.parent.iterdir()) == [file]


def test_a_sheet_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TagformerError, match=r"cannot write .*sheet\.png"):
        sheet(tmp_path / "file" / "sheet.png", Image.new("RGB", (4, 4)))
