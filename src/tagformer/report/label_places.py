"""Places for the names beside points, so that no name lies over another name or over a point."""

from __future__ import annotations

import math

import numpy as np

GAP = 4.0  # between a point and its name
STEP, DIRECTIONS = 5.0, 16  # of the search around a point
FARTHEST = 400  # steps


def place_names(points: np.ndarray, sizes: np.ndarray, width: float, height: float) -> np.ndarray:
    """The lower left corner of each name, near its point and within the picture where there is room.

    The names are placed one after the other. Each takes the nearest free place around its point: to the right, then in
    the other directions, then farther away.

    Args:
        points: (L, 2), x to the right and y upwards.
        sizes: (L, 2), width and height of each name.
        width, height: of the picture.

    Returns:
        float (L, 2).

    >>> import numpy as np
    >>> from tagformer.report.label_places import place_names
    >>> place_names(np.array([[10.0, 50.0]]), np.array([[30.0, 8.0]]), 100, 100)
    array([[14., 46.]])
    """
    corners = np.zeros((len(points), 2))
    taken = [(x - 2, y - 2, x + 2, y + 2) for x, y in points]
    for number, ((x, y), (wide, high)) in enumerate(zip(points, sizes, strict=True)):
        boxes = np.array(taken)
        for left, bottom in _candidates(x, y, wide, high):
            inside = left >= 0 and bottom >= 0 and left + wide <= width and bottom + high <= height
            if inside and not _overlaps(boxes, left, bottom, left + wide, bottom + high):
                break
        corners[number] = left, bottom
        taken.append((left, bottom, left + wide, bottom + high))
    return corners


def _candidates(x: float, y: float, wide: float, high: float) -> list[tuple[float, float]]:
    """Corners of boxes around a point, the nearest first."""
    places = []
    for step in range(FARTHEST):
        distance = GAP + STEP * step
        for direction in range(DIRECTIONS if step else DIRECTIONS // 2):
            angle = 2 * math.pi * direction / (DIRECTIONS if step else DIRECTIONS // 2)
            across, up = math.cos(angle), math.sin(angle)
            # The box touches the circle around the point with the side that faces it.
            places.append((x + distance * across - wide * (1 - across) / 2, y + distance * up - high * (1 - up) / 2))
    return places


def _overlaps(boxes: np.ndarray, left: float, bottom: float, right: float, top: float) -> bool:
    """Whether a box has points in common with one of the boxes (N, 4)."""
    apart = (boxes[:, 0] >= right) | (boxes[:, 2] <= left) | (boxes[:, 1] >= top) | (boxes[:, 3] <= bottom)
    return not bool(apart.all())
