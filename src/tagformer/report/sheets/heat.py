"""A sheet of heat maps over the images that they explain (CAT, Fig. 3)."""

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
RED, BROWN = WRONG, MISSED  # swapped against a contact sheet: in the paper's figure, missed labels are red


def stretched(picture: Image.Image, heat: Tensor, region: Corners) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Resize a map (h, w) to the pixels of a region, scaled from 0 at its lowest to 1 at its highest value.

    Returns:
        float (height, width), and the region (left, top, right, bottom) in pixels.
    """
    width, height = picture.size
    left, top, right, bottom = (
        round(fraction * size) for fraction, size in zip(region, (width, height, width, height), strict=True)
    )
    span = (heat.max() - heat.min()).clamp(min=1e-12)
    shade = Image.fromarray(((heat - heat.min()) / span).numpy().astype(np.float32))
    right, bottom = max(right, left + 1), max(bottom, top + 1)  # at least one pixel, however thin the region is
    values = np.asarray(shade.resize((right - left, bottom - top), Image.Resampling.BICUBIC))
    return np.clip(values, 0, 1), (left, top, right, bottom)


def overlay(picture: Image.Image, heat: Tensor, region: Corners) -> Image.Image:
    """The picture with a map (h, w) of one of its regions over it, in colours from its lowest to its highest value."""
    values, (left, top, right, bottom) = stretched(picture, heat, region)
    coloured = np.asarray(COLOURS(values)[..., :3] * 255, dtype=np.float32)
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32).copy()
    covered = pixels[top:bottom, left:right]
    covered[:] = (1 - OPACITY) * covered + OPACITY * coloured[: covered.shape[0], : covered.shape[1]]
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
        explanations: for each picture, one explanation per model.
        truths: for each picture, the states of its labels by name; other labels are unknown.
        names: the models' names.
    """
    columns = 1 + max((len(explanation.tags) for per_model in explanations for explanation in per_model), default=0)
    tiles: list[Image.Image] = []
    lines: list[list[Line]] = []
    for picture, per_model, truth in zip(pictures, explanations, truths, strict=True):
        for name, explanation in zip(names, per_model, strict=True):
            tag_count = len(explanation.tags)
            blank = [Image.new("RGB", (1, 1), "white")] * (columns - 1 - tag_count)
            tiles += [picture, *(overlay(picture, heat, explanation.region) for heat in explanation.maps), *blank]
            lines += [[(name, PLAIN)], *([caption(explanation, number, truth)] for number in range(tag_count))]
            lines += [[] for _ in blank]
    write_contact_sheet(path, tiles, lines, columns, SIDE)


def caption(explanation: Explanation, number: int, truth: Mapping[str, int]) -> Line:
    """A map's label with its probability: missed labels red, wrong ones brown, right ones green, known ones blue.

    All others are black: labels whose state is unknown, and absent labels that are not predicted.
    """
    tag = explanation.tags[number]
    if tag.known:
        return (f"{tag.name} (known)", KNOWN)
    text, state = f"{tag.name} {tag.probability:.0%}", truth.get(tag.name, UNKNOWN)
    if state == PRESENT:
        return (text, RIGHT) if tag.predicted else (f"{text} (missed)", RED)
    return (f"{text} (wrong)", BROWN) if state == ABSENT and tag.predicted else (text, PLAIN)
