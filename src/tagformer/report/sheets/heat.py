"""Heat maps over the image that they explain (CAT, Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.report.sheets.contact import KNOWN, MISSED, PLAIN, RIGHT, WRONG, Line, write_contact_sheet
from tagformer.tagging.explanation import Corners, Explanation

SIDE = 170  # pixels of a picture's longer side on the sheet
COLOURS = colormaps["turbo"]
OPACITY = 0.55
RED, BROWN = WRONG, MISSED  # the other way round than on a contact sheet: what is missed is red in the paper's figure


def stretched(picture: Image.Image, heat: Tensor, region: Corners) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A map (h, w) from 0 at its lowest to 1 at its highest, for every pixel of a region; and the region in pixels."""
    width, height = picture.size
    left, top, right, bottom = (
        round(fraction * size) for fraction, size in zip(region, (width, height, width, height), strict=True)
    )
    span = (heat.max() - heat.min()).clamp(min=1e-12)
    shade = Image.fromarray(((heat - heat.min()) / span).numpy().astype(np.float32))
    right, bottom = max(right, left + 1), max(bottom, top + 1)  # a thin strip has a pixel too
    values = np.asarray(shade.resize((right - left, bottom - top), Image.Resampling.BICUBIC))
    return np.clip(values, 0, 1), (left, top, right, bottom)


def overlay(picture: Image.Image, heat: Tensor, region: Corners) -> Image.Image:
    """The picture beneath a map (h, w) of a region of it, stretched from its lowest to its highest value."""
    values, (left, top, right, bottom) = stretched(picture, heat, region)
    coloured = np.asarray(COLOURS(values)[..., :3] * 255, dtype=np.float32)
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32).copy()
    part = pixels[top:bottom, left:right]
    part[:] = (1 - OPACITY) * part + OPACITY * coloured[: part.shape[0], : part.shape[1]]
    return Image.fromarray(pixels.astype(np.uint8))


def write_heat_sheet(
    path: Path,
    pictures: Sequence[Image.Image],
    explanations: Sequence[Sequence[Explanation]],
    truths: Sequence[Mapping[str, int]],
    names: Sequence[str],
) -> None:
    """Write a PNG with a row of heat maps for each picture and each model.

    Args:
        explanations: for each picture one of each model.
        truths: for each picture the states of its labels by name; a label that is not among them is unknown.
        names: the models' names.
    """
    columns = 1 + max((len(one.tags) for several in explanations for one in several), default=0)
    tiles: list[Image.Image] = []
    lines: list[list[Line]] = []
    for picture, several, truth in zip(pictures, explanations, truths, strict=True):
        for name, one in zip(names, several, strict=True):
            blank = [Image.new("RGB", (1, 1), "white")] * (columns - 1 - len(one.tags))
            tiles += [picture, *(overlay(picture, heat, one.region) for heat in one.maps), *blank]
            lines += [[(name, PLAIN)], *([caption(one, number, truth)] for number in range(len(one.tags)))]
            lines += [[] for _ in blank]
    write_contact_sheet(path, tiles, lines, columns, SIDE)


def caption(explanation: Explanation, number: int, truth: Mapping[str, int]) -> Line:
    """A map's label with its probability: missed ones in red, wrong ones in brown, right ones green, told ones blue.

    Black is what is neither: unknown, or absent and not predicted.
    """
    tag = explanation.tags[number]
    if tag.known:
        return (f"{tag.name} (known)", KNOWN)
    text, state = f"{tag.name} {tag.probability:.0%}", truth.get(tag.name, UNKNOWN)
    if state == PRESENT:
        return (text, RIGHT) if tag.predicted else (f"{text} (missed)", RED)
    return (f"{text} (wrong)", BROWN) if state == ABSENT and tag.predicted else (text, PLAIN)
