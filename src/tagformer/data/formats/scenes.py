"""Scenes: a built-in data set of pictures drawn from a seed, without files.

Each picture shows a few shapes and has MlTr's three challenges in miniature: the shapes come in three sizes, in pairs
that look alike in form and colour (ring and disc, square and diamond, and so on), and in themes that make labels occur
together. Some objects are faint or half hidden, so that knowing the other labels helps. Two extra labels describe the
whole picture: ``night`` (dark background) and ``busy`` (textured background); each makes certain themes more likely.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image, ImageDraw

from tagformer.data.dataset import SPLITS, Box, MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.errors import TagformerError
from tagformer.labels.space import LabelSpace

PIXELS = 64
RADII = (6.0, 9.0, 13.0)  # pixels; small, medium, large
SUPERSAMPLING = 3  # pictures are drawn this much larger, then scaled down

Point = tuple[float, float]
Ink = tuple[int, int, int]


def _polygon(*points: Point) -> Callable[[ImageDraw.ImageDraw, float, float, float, Ink], None]:
    def draw(canvas: ImageDraw.ImageDraw, x: float, y: float, r: float, ink: Ink) -> None:
        canvas.polygon([(x + r * dx, y + r * dy) for dx, dy in points], fill=ink)

    return draw


def _circle(points: int, inner: float = 1.0, turn: float = -90.0) -> list[Point]:
    """`points` corners on the unit circle; with `inner` < 1 also as many between them on a smaller one: a star."""
    steps = points if inner == 1.0 else 2 * points
    radii = [1.0 if inner == 1.0 or step % 2 == 0 else inner for step in range(steps)]
    angles = [math.radians(turn + 360 * step / steps) for step in range(steps)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for radius, angle in zip(radii, angles, strict=True)]


def _bars(turn: float) -> list[Point]:
    """An upright cross, turned by `turn` degrees."""
    arm = 0.3
    corners = [(arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm), (arm, 1)]
    points = [*corners, *((-x, -y) for x, y in corners)]
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in points]


def _disc(canvas: ImageDraw.ImageDraw, x: float, y: float, r: float, ink: Ink) -> None:
    canvas.ellipse((x - r, y - r, x + r, y + r), fill=ink)


def _ring(canvas: ImageDraw.ImageDraw, x: float, y: float, r: float, ink: Ink) -> None:
    canvas.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=max(1, round(0.38 * r)))


def _heart(canvas: ImageDraw.ImageDraw, x: float, y: float, r: float, ink: Ink) -> None:
    canvas.ellipse((x - r, y - 0.85 * r, x, y + 0.15 * r), fill=ink)
    canvas.ellipse((x, y - 0.85 * r, x + r, y + 0.15 * r), fill=ink)
    canvas.polygon([(x - 0.96 * r, y - 0.15 * r), (x + 0.96 * r, y - 0.15 * r), (x, y + r)], fill=ink)


SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, float, float, float, Ink], None]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _polygon(*_circle(4, turn=45)),
    "diamond": _polygon(*_circle(4)),
    "plus": _polygon(*_bars(0)),
    "cross": _polygon(*_bars(45)),
    "star": _polygon(*_circle(5, inner=0.42)),
    "flower": _polygon(*_circle(8, inner=0.62)),
    "triangle": _polygon(*_circle(3)),
    "arrow": _polygon((0, -1), (0.9, 0.1), (0.35, 0.1), (0.35, 1), (-0.35, 1), (-0.35, 0.1), (-0.9, 0.1)),
    "heart": _heart,
    "hexagon": _polygon(*_circle(6)),
}
# The two shapes of a pair look alike, so their hues are close too, and overlap.
HUES = {shape: (number // 2 + 0.4 * (number % 2)) / 6 for number, shape in enumerate(SHAPES)}
HUE_SPREAD = 0.03
EXTRA = ("night", "busy")
LABELS = LabelSpace((*SHAPES, *EXTRA), extra=EXTRA)

# Each theme takes one shape from each of four pairs, so that shapes that look alike are seldom in one picture.
THEMES = (
    ("disc", "square", "plus", "star"),
    ("ring", "diamond", "cross", "triangle"),
    ("disc", "diamond", "flower", "heart"),
    ("ring", "square", "arrow", "hexagon"),
)
THEME_ODDS = {  # (night, busy) -> probability of each theme
    (False, False): (0.55, 0.15, 0.15, 0.15),
    (True, False): (0.15, 0.55, 0.15, 0.15),
    (False, True): (0.15, 0.15, 0.55, 0.15),
    (True, True): (0.15, 0.15, 0.15, 0.55),
}
IN_THEME, OFF_THEME = 0.8, 0.02  # probability that a shape of the theme, or any other shape, is in the picture


@dataclass(frozen=True)
class SceneObject:
    """One shape of a scene.

    Attributes:
        shape: its label.
        x, y, radius: its centre and radius, in pixels.
        size: 1 small, 2 medium, 3 large.
        contrast: 1 for full colour, towards 0 for faint.
        hidden: whether its left or lower half is covered.
    """

    shape: str
    x: float
    y: float
    radius: float
    size: int
    contrast: float
    hidden: bool


@dataclass(frozen=True)
class Scene:
    """The description of one picture, which `render` draws."""

    seed: tuple[int, ...]
    night: bool
    busy: bool
    objects: tuple[SceneObject, ...]

    @classmethod
    def drawn(cls, seed: tuple[int, ...], faint: float) -> Scene:
        """Draw a scene's description from its seed."""
        rng = np.random.default_rng(seed)
        night, busy = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
        theme = THEMES[rng.choice(len(THEMES), p=THEME_ODDS[night, busy])]
        odds = np.array([IN_THEME if shape in theme else OFF_THEME for shape in SHAPES])
        shapes = [shape for shape, taken in zip(SHAPES, rng.random(len(odds)) < odds, strict=True) if taken]
        objects: list[SceneObject] = []
        for shape in rng.permutation(shapes or [theme[0]]):
            size = int(rng.choice(3, p=(0.3, 0.4, 0.3)))
            place = _place(rng, objects, RADII[size])
            while place is None and size > 0:
                size -= 1
                place = _place(rng, objects, RADII[size])
            if place is None:
                continue
            unclear = rng.random() < faint
            contrast = float(rng.uniform(0.08, 0.3) if unclear else rng.uniform(0.85, 1.0))
            hidden = bool(unclear and rng.random() < 0.5)
            objects.append(SceneObject(str(shape), *place, RADII[size], size + 1, contrast, hidden))
        return cls(seed, night, busy, tuple(objects))

    def render(self) -> Image.Image:
        """The picture, 64x64 RGB."""
        rng = np.random.default_rng((*self.seed, 1))
        scale = SUPERSAMPLING
        ground = rng.uniform(15, 60, 3) if self.night else rng.uniform(165, 235, 3)
        picture = Image.new("RGB", (PIXELS * scale, PIXELS * scale), _ink(ground))
        canvas = ImageDraw.Draw(picture)
        if self.busy:
            for _ in range(26):
                x, y = rng.uniform(0, PIXELS * scale, 2)
                dx, dy = rng.uniform(-9, 9, 2) * scale
                canvas.line((x, y, x + dx, y + dy), fill=_ink(ground + rng.normal(0, 14, 3)), width=scale)
        for item in self.objects:
            hue = HUES[item.shape] + rng.normal(0, HUE_SPREAD)
            value = rng.uniform(0.8, 1.0) if self.night else rng.uniform(0.45, 0.7)
            full = 255 * np.array(colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.6, 1.0), value))
            x, y, r = item.x * scale, item.y * scale, item.radius * scale
            SHAPES[item.shape](canvas, x, y, r, _ink(ground + item.contrast * (full - ground)))
            if item.hidden:
                cover = (x - r, y - r, x, y + r) if rng.random() < 0.5 else (x - r, y, x + r, y + r)
                canvas.rectangle(cover, fill=_ink(ground))
        picture = picture.resize((PIXELS, PIXELS), Image.Resampling.BOX)
        noisy = np.asarray(picture, dtype=np.float32) + rng.normal(0, 4, (PIXELS, PIXELS, 3))
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes of all the objects."""
        return tuple(
            Box(item.shape, tuple(edge / PIXELS for edge in _edges(item)))  # type: ignore[arg-type]
            for item in self.objects
        )


def _edges(item: SceneObject) -> tuple[float, float, float, float]:
    return item.x - item.radius, item.y - item.radius, item.x + item.radius, item.y + item.radius


def _ink(colour: np.ndarray) -> Ink:
    red, green, blue = (int(value) for value in colour.clip(0, 255))
    return red, green, blue


def _place(rng: np.random.Generator, others: list[SceneObject], radius: float) -> Point | None:
    """A centre where a shape of this radius touches no other; None after forty failed tries."""
    for _ in range(40):
        x, y = rng.uniform(radius + 1, PIXELS - radius - 1, 2)
        if all(math.hypot(x - o.x, y - o.y) > radius + o.radius for o in others):
            return float(x), float(y)
    return None


class ScenesFormat(Format):
    """The drawn pictures; see the module's text."""

    layout = "none: the pictures are drawn from a seed"
    options: ClassVar[Mapping[str, str]] = {
        "images": "number of training pictures (default 5000); val and test have a sixth of it each",
        "seed": "seed of the pictures (default 0)",
        "faint": "share of objects drawn faint or half hidden (default 0.21)",
    }
    needs_path = False

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """train, val and test."""
        return SPLITS

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Draw the pictures of a split; `path` is not used.

        Raises:
            TagformerError: an option that is not a number in range.
        """
        count = _number(options, "images", 5000, int, 6)
        seed = _number(options, "seed", 0, int, 0)
        faint = _number(options, "faint", 0.21, float, 0.0)
        scenes: list[Scene] = []
        ids: list[str] = []
        for name in SPLITS if split == "all" else (split,):
            size = count if name == "train" else max(1, count // 6)
            branch = SPLITS.index(name)
            scenes += [Scene.drawn((seed, branch, number), faint) for number in range(size)]
            ids += [f"{name}-{number:05d}" for number in range(size)]
        labels = torch.zeros(len(scenes), len(LABELS), dtype=torch.int8)
        sizes = torch.zeros_like(labels)
        for row, scene in enumerate(scenes):
            for item in scene.objects:
                labels[row, LABELS.index(item.shape)] = 1
                sizes[row, LABELS.index(item.shape)] = item.size
            labels[row, LABELS.index("night")] = int(scene.night)
            labels[row, LABELS.index("busy")] = int(scene.busy)
        return MultiLabelDataset(
            name="scenes",
            label_space=LABELS,
            images=scenes,
            labels=labels,
            ids=ids,
            sizes=sizes,
            boxes=[scene.boxes for scene in scenes],
            exhaustive=True,
        )


def _number(options: Mapping[str, str], name: str, default: float, kind: type, least: float) -> int:
    text = options.get(name, str(default))
    try:
        value = kind(text)
    except ValueError as error:
        raise TagformerError(f"scenes: {name}={text} is not a number.") from error
    if not value >= least:
        raise TagformerError(f"scenes: {name}={text} is too small: use {least} or more.")
    return value
