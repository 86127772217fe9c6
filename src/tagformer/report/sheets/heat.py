"""A sheet of heat maps over the images that they explain (CAT, Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.report.sheets.contact import KNOWN, MISSED, NO_TAG, PLAIN, RIGHT, WRONG, Line, write_contact_sheet
from tagformer.tagging.explanation import Corners, Explanation

SIDE = 170  # pixels of a picture's longer side on the sheet
HEAT = np.array(ImageColor.getrgb("#ff9100"), dtype=np.float32)  # not a colour of the captions
OPACITY = 0.7  # of the highest value; the lowest leaves the picture as it is
GREY = 0.9  # how grey the picture becomes, so that a colour means heat
BAR = (180, 12)  # pixels of the colour bar


def stretched(picture: Image.Image, heat: Tensor, region: Corners) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Resize a map (h, w) to the pixels of a region, scaled from 0 at its lowest to 1 at its highest value.

    Returns:
        float (height, width), and the region (left, top, right, bottom) in pixels, within the picture.
    """
    width, height = picture.size
    left, top, right, bottom = (
        round(fraction * size) for fraction, size in zip(region, (width, height, width, height), strict=True)
    )
    span = (heat.max() - heat.min()).clamp(min=1e-12)
    shade = Image.fromarray(((heat - heat.min()) / span).numpy().astype(np.float32))
    right, bottom = max(right, left + 1), max(bottom, top + 1)  # at least one pixel, however thin the region is
    values = np.asarray(shade.resize((right - left, bottom - top), Image.Resampling.BICUBIC))
    values = values[max(0, -top) :, max(0, -left) :]
    return np.clip(values, 0, 1), (max(0, left), max(0, top), right, bottom)


def overlay(picture: Image.Image, heat: Tensor, region: Corners) -> Image.Image:
    """The picture, nearly grey, with a map (h, w) of one of its regions over it.

    The colour is the more opaque the higher the map is: where it is lowest the picture is seen alone.
    """
    values, (left, top, right, bottom) = stretched(picture, heat, region)
    grey = np.asarray(picture.convert("L"), dtype=np.float32)[..., None]
    pixels = (1 - GREY) * np.asarray(picture.convert("RGB"), dtype=np.float32) + GREY * grey
    covered = pixels[top:bottom, left:right]
    values = values[: covered.shape[0], : covered.shape[1], None]
    covered[:] = (1 - OPACITY * values) * covered + OPACITY * values * HEAT
    return Image.fromarray(pixels.astype(np.uint8))


def legend(captions: bool = True) -> Image.Image:
    """The colour bar of the heat, and with `captions` the meaning of the captions' colours."""
    font = ImageFont.load_default(size=12)
    image = Image.new("RGB", (340 if captions else 300, 40 if captions else 20), "white")
    canvas = ImageDraw.Draw(image)
    values = np.tile(np.linspace(0, 1, BAR[0], dtype=np.float32), (BAR[1], 1))
    shade = OPACITY * values[..., None]
    bar = (1 - shade) * 128 + shade * HEAT
    canvas.text((0, 1), "lowest", fill=PLAIN, font=font)
    image.paste(Image.fromarray(bar.astype(np.uint8)), (48, 3))
    canvas.text((48 + BAR[0] + 6, 1), "highest", fill=PLAIN, font=font)
    left = 0.0
    for text, colour in (("right", RIGHT), ("wrong", WRONG), ("missed", MISSED), ("known", KNOWN)) if captions else ():
        canvas.text((left, 22), text, fill=colour, font=font)
        left += font.getlength(text) + 14
    return image


def write_heat_sheet(
    path: Path,
    pictures: Sequence[Image.Image],
    explanations: Sequence[Sequence[Explanation]],
    truths: Sequence[Mapping[str, int]],
    names: Sequence[str],
    images: Sequence[str],
) -> None:
    """Write a PNG with a row of heat maps for each picture and each model, and a colour bar below them.

    Args:
        path: of the PNG.
        pictures: the pictures.
        explanations: for each picture, one explanation per model.
        truths: for each picture, the states of its labels by name; other labels are unknown.
        names: the models' names.
        images: the pictures' names.
    """
    columns = 1 + max((len(explanation.tags) for per_model in explanations for explanation in per_model), default=0)
    tiles: list[Image.Image] = []
    lines: list[list[Line]] = []
    for picture, per_model, truth, image in zip(pictures, explanations, truths, images, strict=True):
        for name, explanation in zip(names, per_model, strict=True):
            tag_count = len(explanation.tags)
            blank = [Image.new("RGB", (1, 1), "white")] * (columns - 1 - tag_count)
            tiles += [picture, *(overlay(picture, heat, explanation.region) for heat in explanation.maps), *blank]
            title = [(Path(image).name, PLAIN), (name, PLAIN), *([] if tag_count else [(NO_TAG, PLAIN)])]
            lines += [title, *([caption(explanation, number, truth)] for number in range(tag_count))]
            lines += [[] for _ in blank]
    write_contact_sheet(path, tiles, lines, columns, SIDE, legend())


def caption(explanation: Explanation, number: int, truth: Mapping[str, int]) -> Line:
    """A map's label with its probability: right labels green, wrong ones red, missed ones brown, known ones blue.

    All others are black: labels whose state is unknown, and absent labels that are not predicted.
    """
    tag = explanation.tags[number]
    if tag.known:
        return (f"{tag.name} (known)", KNOWN)
    text, state = f"{tag.name} {tag.probability:.0%}", truth.get(tag.name, UNKNOWN)
    if state == PRESENT:
        return (text, RIGHT) if tag.predicted else (f"{text} (missed)", MISSED)
    return (f"{text} (wrong)", WRONG) if state == ABSENT and tag.predicted else (text, PLAIN)
