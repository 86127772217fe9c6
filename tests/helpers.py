"""Small data sets as files, and random scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

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


def random_scores(seed: int, images: int = 40, labels: int = 6, unknown: bool = False) -> tuple[Tensor, Tensor]:
    """Scores float64 (images, labels) from a normal distribution, and labels int8 that do not depend on them."""
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(size=(images, labels)))
    states = torch.from_numpy(rng.integers(-1 if unknown else 0, 2, (images, labels)).astype(np.int8))
    return scores, states
