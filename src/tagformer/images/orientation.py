"""The orientation that a camera notes in the EXIF data of an image."""

from __future__ import annotations

import numpy as np
from PIL import Image

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}

# After rows and columns are swapped, where they are.
UPSIDE_DOWN = {
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}
MIRRORED = {
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
}


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """The transposition that makes an image upright, from its EXIF data.

    `ImageOps.exif_transpose` also rewrites the EXIF data, and fails where one of its other fields is not valid.
    """
    try:
        return TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # Pillow parses EXIF lazily, and unreadable EXIF data says nothing about the pixels
        return None


def turned(pixels: np.ndarray, turn: Image.Transpose | None) -> np.ndarray:
    """Pixels (h, w, 3), or a view of them, after a transposition."""
    if turn in SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if turn in UPSIDE_DOWN else 1, :: -1 if turn in MIRRORED else 1]
