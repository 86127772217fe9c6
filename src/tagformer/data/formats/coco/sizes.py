"""COCO's sizes of objects, by their area in square pixels: below 32^2 small, below 96^2 medium, otherwise large."""

from __future__ import annotations

import math

from tagformer.data.dataset import LARGE, MEDIUM, SMALL

SMALL_AREA, MEDIUM_AREA = 32**2, 96**2
AREA_LIMITS = {  # smallest and largest area of a size
    SMALL: (0.0, SMALL_AREA - 1.0),
    MEDIUM: (float(SMALL_AREA), MEDIUM_AREA - 1.0),
    LARGE: (float(MEDIUM_AREA), math.inf),
}


def size_class(area: float) -> int:
    """The size of an area in square pixels: 1 small, 2 medium, 3 large.

    >>> size_class(31 * 31), size_class(32 * 32), size_class(96 * 96)
    (1, 2, 3)
    """
    return SMALL if area < SMALL_AREA else MEDIUM if area < MEDIUM_AREA else LARGE
