"""A sheet of single channels of a network's last feature map (MlTr, Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from tagformer.report.sheets.contact import PLAIN, write_contact_sheet
from tagformer.report.sheets.heat import SIDE, legend, overlay, stretched
from tagformer.tagging.explanation import Corners

HOTTEST = 0.25  # share of the area that a masked picture shows


def masked(picture: Image.Image, heat: Tensor, region: Corners) -> Image.Image:
    """The picture where the map (h, w) is highest, over a quarter of the region, and black elsewhere.

    Pixels with the lowest value of the map stay black: channels after a ReLU are often zero nearly everywhere, and then
    less than a quarter is shown.
    """
    values, (left, top, right, bottom) = stretched(picture, heat, region)
    pixels = np.zeros((picture.height, picture.width, 3), dtype=np.uint8)
    shown = (values >= np.quantile(values, 1 - HOTTEST)) & (values > 0)
    covered = np.asarray(picture.convert("RGB"))[top:bottom, left:right]
    pixels[top:bottom, left:right] = covered * shown[: covered.shape[0], : covered.shape[1], None]
    return Image.fromarray(pixels)


def write_channel_sheet(
    path: Path,
    pictures: Sequence[Image.Image],
    names: Sequence[str],
    maps: Sequence[Tensor],
    regions: Sequence[Corners],
    channels: Sequence[int],
) -> None:
    """Write a PNG with a row for each picture: the picture, and two pictures for each channel.

    The first has the channel's map as a heat map over it, the second shows only the quarter where the map is highest.

    Args:
        maps: for each picture the last feature map (C, h, w).
        regions: the part of each picture that its map covers.
        channels: the numbers of the channels, from 0.
    """
    tiles: list[Image.Image] = []
    lines: list[list[tuple[str, str]]] = []
    for picture, name, feature_map, region in zip(pictures, names, maps, regions, strict=True):
        tiles.append(picture)
        lines.append([(name, PLAIN)])
        for channel in channels:
            tiles += [overlay(picture, feature_map[channel], region), masked(picture, feature_map[channel], region)]
            lines += [[(f"channel {channel}", PLAIN)], [("its hottest quarter", PLAIN)]]
    write_contact_sheet(path, tiles, lines, 1 + 2 * len(channels), SIDE, legend(captions=False))
