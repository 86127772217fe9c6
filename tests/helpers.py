"""Small data sets as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

CommandLine = Callable[..., tuple[int, str, str]]
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 30), "blue": (40, 40, 200)}


def write_folder(folder: Path, count: int, header: str = "path,tags") -> Path:
    """Write `count` plain pictures named after nothing, tagged with their colour, and the CSV beside them."""
    folder.mkdir(parents=True)
    lines = [header]
    for number in range(count):
        name = list(COLOURS)[number % len(COLOURS)]
        Image.new("RGB", (40, 30), COLOURS[name]).save(folder / f"image-{number:02d}.png")
        lines.append(f"image-{number:02d}.png,{name}")
    table = folder / "my.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table
