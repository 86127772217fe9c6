"""Any decoded image as upright 8-bit RGB, strip by strip, so that little memory is needed beyond the decoded image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

STRIP_PIXELS = 1 << 20
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners use of a 16-bit value


def rgb_pixels(image: Image.Image, divisor: int = 1) -> np.ndarray:
    """uint8 (h, w, 3) of an image of any mode, by the rules of `images.load_image`; it is not turned.

    Args:
        divisor: the mean of so many by so many pixels is one pixel of the result, whose size is rounded up.
    """
    width, height = image.size
    pixels = np.empty((-(-height // divisor), -(-width // divisor), 3), dtype=np.uint8)
    for top, strip in _rgb_strips(image, divisor):
        small = strip.reduce(divisor) if divisor > 1 else strip
        pixels[top // divisor : top // divisor + small.height] = np.asarray(small)
    return pixels


def rgb_image(image: Image.Image) -> Image.Image:
    """The image in mode RGB, by the rules of `images.load_image`; it is not turned."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    converted = Image.new("RGB", image.size)
    for top, strip in _rgb_strips(image, 1):
        converted.paste(strip, (0, top))
    return converted


def _rgb_strips(image: Image.Image, divisor: int) -> Iterator[tuple[int, Image.Image]]:
    """The first row, and the strip of rows from there in mode RGB; each strip has a multiple of `divisor` rows."""
    width, height = image.size
    rows = max(1, STRIP_PIXELS // max(1, width * divisor)) * divisor
    shift = _shift(image)
    for top in range(0, height, rows):
        yield top, _strip_to_rgb(image.crop((0, top, width, min(top + rows, height))), shift)


def _shift(image: Image.Image) -> int:
    """How many lower bits of integer values are dropped, so that the used range fills 8 bits.

    A 16-bit file often holds 10, 12 or 14 bits, which the upper 8 bits alone would show as nearly black.
    """
    if not image.mode.startswith("I"):
        return 0
    largest = max(0, int(image.getextrema()[1]))  # type: ignore[arg-type]
    used = largest.bit_length()
    return next((depth for depth in DEPTHS if used <= depth), used) - 8


def _strip_to_rgb(strip: Image.Image, shift: int) -> Image.Image:
    if strip.mode.startswith("I"):
        values = np.right_shift(np.maximum(np.asarray(strip), 0), shift)
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if strip.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if "A" in strip.mode or "a" in strip.mode or "transparency" in strip.info:
        strip = strip.convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        return Image.alpha_composite(white, strip).convert("RGB")
    return strip.convert("RGB")
