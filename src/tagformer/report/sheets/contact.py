"""A contact sheet: small pictures with their tags below them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from tagformer.files import atomic_write
from tagformer.report.names import shorten_all

RIGHT, WRONG, MISSED, KNOWN, PLAIN = "#1a7f37", "#cf222e", "#9a6700", "#0969da", "#1f2328"
NO_TAG = "no tag"
ENDING = re.compile(r" \d+%.*$| \(known\)$")  # what follows a name
MARGIN, LINE = 10, 15  # pixels

Line = tuple[str, str]  # text, colour


def tag_lines(tags: Sequence[tuple[str, float]], truth: Sequence[str] | None, known: Sequence[str] = ()) -> list[Line]:
    """The lines below a picture: predicted labels with their probabilities, then the missed labels.

    Right labels are green, wrong ones red, missed ones brown and known ones blue. Without the truth, all are black. A
    picture without a tag says so.

    Args:
        tags: (name, probability) of each predicted label.
        truth: the names of the present labels; None where they are not known.
        known: the names of the labels that the model was given as known.

    >>> from tagformer.report import tag_lines
    >>> [text for text, colour in tag_lines([("dog", 0.91), ("cat", 0.5)], truth=["dog", "cow"])]
    ['dog 91%', 'cat 50%', 'missed: cow']
    """
    lines: list[Line] = [] if tags else [(NO_TAG, PLAIN)]
    for name, probability in tags:
        if name in known:
            lines.append((f"{name} (known)", KNOWN))
        else:
            colour = PLAIN if truth is None else RIGHT if name in truth else WRONG
            lines.append((f"{name} {probability:.0%}", colour))
    predicted = {name for name, _ in tags}
    lines += [(f"missed: {name}", MISSED) for name in truth or () if name not in predicted]
    return lines


def write_contact_sheet(
    path: Path,
    pictures: Sequence[Image.Image],
    lines: Sequence[Sequence[Line]],
    columns: int = 6,
    side: int = 150,
    footer: Image.Image | None = None,
) -> None:
    """Write a PNG with each picture in a square of `side` pixels and its lines of text below it.

    Args:
        pictures: the pictures.
        lines: for each picture the lines below it; a line that is too long loses its middle.
        columns: pictures per row.
        side: pixels.
        footer: a picture below all others, for example a legend.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from tagformer.report import write_contact_sheet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "sheet.png"
    ...     write_contact_sheet(file, [Image.new("RGB", (4, 2))], [[("dog 91%", "green")]], columns=1)
    ...     Image.open(file).size
    (170, 195)
    """
    font = ImageFont.load_default(size=12)
    fitting = _fitting({text for below in lines for text, _ in below}, font, side)
    rows = [range(start, min(start + columns, len(pictures))) for start in range(0, len(pictures), columns)]
    heights = [side + LINE * max([1, *(len(lines[i]) for i in row)]) + 2 * MARGIN for row in rows]
    width = columns * (side + MARGIN) + MARGIN
    if footer is not None:
        width = max(width, footer.width + 2 * MARGIN)
    sheet = Image.new("RGB", (width, sum(heights) + MARGIN + (footer.height + MARGIN if footer else 0)), "white")
    canvas = ImageDraw.Draw(sheet)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for place, index in enumerate(row):
            left = MARGIN + place * (side + MARGIN)
            enlarge = Image.Resampling.NEAREST if max(pictures[index].size) < side else Image.Resampling.LANCZOS
            thumbnail = ImageOps.contain(pictures[index], (side, side), enlarge)
            sheet.paste(thumbnail, (left + (side - thumbnail.width) // 2, top + (side - thumbnail.height) // 2))
            for number, (text, colour) in enumerate(lines[index]):
                canvas.text((left, top + side + 4 + number * LINE), fitting[text], fill=colour, font=font)
        top += height
    if footer is not None:
        sheet.paste(footer, (MARGIN, top))
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="PNG")


def _fitting(texts: Collection[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> dict[str, str]:
    """The texts of a sheet by themselves, those that are wider than `width` pixels with their names cut."""
    wide = sorted(text for text in texts if font.getlength(text) > width)
    endings = {text: match[0] if (match := ENDING.search(text)) else "" for text in wide}
    longest = max(endings.values(), key=font.getlength, default="")
    names = sorted({text.removesuffix(endings[text]) for text in wide})
    cut = dict(zip(names, shorten_all(names, lambda name: font.getlength(name + longest) <= width), strict=True))
    return {text: cut[text.removesuffix(endings[text])] + endings[text] if text in endings else text for text in texts}
