"""Draw docs/images/architecture.svg: the rooms of the code, and the way of an image, a label state and a logit.

Usage: python scripts/draw_architecture.py
"""

from __future__ import annotations

from html import escape
from pathlib import Path

TARGET = Path(__file__).parent.parent / "docs" / "images" / "architecture.svg"
WIDTH, MARGIN, GAP = 1200, 20, 12
GREY, IMAGE, LABEL, LOGIT = "#5b6673", "#1f6fb2", "#b8500a", "#2e7d32"

FLOORS = [  # from the top; a room imports from its own floor's left and from the floors below
    [("cli", "one file per command: parse, call, print")],
    [
        ("report", "pages, charts, sheets"),
        ("doctor", "what may go wrong, and its cure"),
        ("serve", "the API, the page, Label Studio"),
    ],
    [
        ("evaluation", "models, runs, comparisons"),
        ("tagging", "Tagger, questions, heat maps"),
        ("answers", "what people answered; tags as files"),
        ("training", "prepare, build, train; in stages"),
    ],
    [
        ("features", "a frozen network's maps, remembered"),
        ("recipes", "the settings of a training"),
        ("runs", "a run folder is a model"),
    ],
    [("backbones", "images to maps"), ("models", "one paper per file"), ("data", "formats, loader, conversion")],
    [("images", "decode, crop, normalise"), ("losses", "unknown labels left out"), ("metrics", "exact, per protocol")],
    [
        ("labels", "three states, masking"),
        ("files", "read, write atomically"),
        ("errors", "one sentence each"),
        ("extensions", "own parts by name"),
    ],
]
LANES = [  # colour, title, (room, what happens) for each step
    (
        IMAGE,
        "an image",
        [
            ("data/formats", "a path"),
            ("images/reading", "decode"),
            ("images/transforms", "crop, resize: uint8"),
            ("data/loader", "(B, 3, H, W) uint8"),
            ("images/preprocessing", "normalise: float32"),
            ("backbones", "maps (B, C, h, w)"),
            ("models", "encode: features"),
        ],
    ),
    (
        LABEL,
        "a label",
        [
            ("data/formats", "1, 0 or -1"),
            ("data/sparse_rows", "int8 (N, L)"),
            ("data/loader", "int8 (B, L)"),
            ("labels/masking", "known: int8 (B, L)"),
            ("models", "decode(features, known)"),
        ],
    ),
    (
        LOGIT,
        "a logit",
        [
            ("models", "logits (B, L)"),
            ("losses", "training: loss"),
            ("metrics", "evaluation: AP, mAP"),
            ("tagging", "predict: probability, tag"),
        ],
    ),
]


def text(x: float, y: float, words: str, size: int, colour: str = "#222", bold: bool = False) -> str:
    weight = "bold" if bold else "normal"
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" font-weight="{weight}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, name: str, does: str, colour: str) -> str:
    style = f'rx="6" fill="{colour}" fill-opacity="0.07" stroke="{colour}"'
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" {style}/>'
    return frame + text(x + 9, y + 19, name, 13, colour, bold=True) + text(x + 9, y + 36, does, 12)


def floors(top: float) -> tuple[list[str], float]:
    """Each floor as a row of boxes over the whole width."""
    parts = []
    for floor in FLOORS:
        width = (WIDTH - 2 * MARGIN - GAP * (len(floor) - 1)) / len(floor)
        for number, (name, does) in enumerate(floor):
            parts.append(box(MARGIN + number * (width + GAP), top, width, 44, name, does, GREY))
        top += 44 + GAP
    return parts, top


def lanes(top: float) -> tuple[list[str], float]:
    """Each way as a row of boxes with arrows between them."""
    parts, arrow, columns = [], 14, 7
    width = (WIDTH - 2 * MARGIN - arrow * (columns - 1)) / columns
    for colour, title, steps in LANES:
        parts.append(text(MARGIN, top + 16, f"The way of {title}", 15, colour, bold=True))
        top += 26
        for number, (name, does) in enumerate(steps):
            x = MARGIN + number * (width + arrow)
            parts.append(box(x, top, width, 44, name, does, colour))
            between = x - arrow
            if title == "a logit" and number > 1:
                parts.append(text(between, top + 26, "or", 11, colour))
            elif number:
                arrow_head = f"M{between + 2} {top + 22} h9 m-4 -4 l4 4 l-4 4"
                parts.append(f'<path d="{arrow_head}" stroke="{colour}" fill="none"/>')
        top += 44 + 22
    return parts, top


def main() -> None:
    upper, middle = floors(MARGIN)
    lower, bottom = lanes(middle + 14)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom:.0f}" font-family="sans-serif">'
        f'<title>The rooms of Tagformer</title><rect width="{WIDTH}" height="{bottom:.0f}" fill="white"/>'
    )
    TARGET.write_text("\n".join([head, *upper, *lower, "</svg>", ""]), encoding="utf-8")
    print(f"written to {TARGET}")


if __name__ == "__main__":
    main()
