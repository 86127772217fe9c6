"""Where single channels of a network's last map look (MlTr, Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from tagformer.report.sheets.contact import PLAIN, write_contact_sheet
from tagformer.report.sheets.heat import SIDE, overlay, stretched
from tagformer.tagging.explanation import Corners

HOTTEST = 0.25  # share of the area that a masked picture shows


def masked(picture: Image.Image, heat: Tensor, region: Corners) -> Image.Image:
    """The picture in black but for the quarter of the region in which the map (h, w) is highest, or what is not lowest.

    Channels after a ReLU are often zero nearly everywhere.
    """
    values, (left, top, right, bottom) = stretched(picture, heat, region)
    pixels = np.zeros((picture.height, picture.width, 3), dtype=np.uint8)
    shown = (values >= np.quantile(values, 1 - HOTTEST)) & (values > 0)
    part = np.asarray(picture.convert("RGB"))[top:bottom, left:right]
    pixels[top:bottom, left:right] = part * shown[: part.shape[0], : part.shape[1], None]
    return Image.fromarray(pixels)


def write_channel_sheet(
    path: Path,
    pictures: Sequence[Image.Image],
    names: Sequence[str],
    maps: Sequence[Tensor],
    regions: Sequence[Corners],
    channels: Sequence[int],
) -> None:
    """Write a PNG with a row for each picture: it, and for each channel its map over it and its hottest parts alone.

    Args:
        maps: of each picture the last map (C, h, w).
        regions: the part of each picture that its maps cover.
        channels: their numbers, from 0.
    """
    tiles: list[Image.Image] = []
    lines: list[list[tuple[str, str]]] = []
    for picture, name, found, region in zip(pictures, names, maps, regions, strict=True):
        tiles.append(picture)
        lines.append([(name, PLAIN)])
        for channel in channels:
            tiles += [overlay(picture, found[channel], region), masked(picture, found[channel], region)]
            lines += [[(f"channel {channel}", PLAIN)], [("its hottest quarter", PLAIN)]]
    write_contact_sheet(path, tiles, lines, columns=1 + 2 * len(channels), side=SIDE)
