"""Reading any image as 8-bit RGB, or saying in one sentence why not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tagformer.data.record import ImageSource
from tagformer.errors import BadImageError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


def load_image(source: ImageSource) -> Image.Image:
    """The image as 8-bit RGB, upright.

    EXIF orientation is applied, transparency is laid on white, 16-bit values keep their upper 8 bits; grey, palette
    and CMYK images are converted. Of an animation the first frame is taken.

    Raises:
        BadImageError: missing, empty, truncated, not an image, or larger than Pillow's limit for decompression bombs.
    """
    if not isinstance(source, Path):
        return source.render()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large and of odd files; what cannot be read raises
            with Image.open(source) as image:
                image.load()
                return to_rgb(image)
    except FileNotFoundError as error:
        raise BadImageError(f"image {source} does not exist.") from error
    except IsADirectoryError as error:
        raise BadImageError(f"image {source} is a folder.") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise BadImageError(f"image {source} has over {limit} million pixels: scale it down.") from error
    except UnidentifiedImageError as error:
        empty = source.stat().st_size == 0
        raise BadImageError(f"image {source} {'is an empty file' if empty else 'is not an image'}.") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise BadImageError(f"image {source} is broken ({reason}).") from error


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image) -> Image.Image:
    """Not ImageOps.exif_transpose: that writes the EXIF anew, and raises errors of many types for odd fields."""
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # Pillow parses it lazily; what cannot be read says nothing about the picture
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def to_rgb(image: Image.Image) -> Image.Image:
    """A PIL image of any mode as upright 8-bit RGB; see `load_image`."""
    image = _upright(image)
    if image.mode.startswith(("I;16", "I")):
        values = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
