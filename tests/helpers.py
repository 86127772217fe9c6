"""What several test files use: small data sets as files, evaluations of given logits, comparisons of weights."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image

from tagformer.evaluation import Evaluation
from tagformer.metrics import evaluate

CommandLine = Callable[..., tuple[int, str, str]]
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 30), "blue": (40, 40, 200)}


def write_folder(folder: Path, count: int, header: str = "path,tags") -> Path:
    """Write `count` plain pictures named by number, tagged with their colour, and the CSV beside them."""
    folder.mkdir(parents=True)
    lines = [header]
    for number in range(count):
        name = list(COLOURS)[number % len(COLOURS)]
        Image.new("RGB", (40, 30), COLOURS[name]).save(folder / f"image-{number:02d}.png")
        lines.append(f"image-{number:02d}.png,{name}")
    table = folder / "my.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def evaluation_of(
    logits: torch.Tensor, labels: torch.Tensor, names: str = "abc", ids: list[str] | None = None
) -> Evaluation:
    """An evaluation with these logits (N, L); the labels' names are single letters."""
    ids = ids or [f"{number}.jpg" for number in range(len(logits))]
    return Evaluation(evaluate(logits, labels), (), "fixed", (), tuple(names), logits, labels, tuple(ids))


def shifted_case(images: int = 4_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that rank well, but are too extreme, and too low for the rare labels."""
    generator = torch.Generator().manual_seed(0)
    calibrated = 2 * torch.randn(images, 3, generator=generator) - torch.tensor([0.0, 1.5, 3.0])
    labels = (torch.rand(calibrated.shape, generator=generator) < torch.sigmoid(calibrated)).to(torch.int8)
    return 2 * calibrated, labels


def assert_same_weights(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    """The same names, with tensors that are equal to the last bit."""
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system rejects every write beyond `size` bytes of a file, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
