"""Making an image ready to be written: as it is, or smaller and as a JPEG."""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tagformer.errors import BadImageError
from tagformer.images.reading import EXTENSIONS, Picture, encoded_bytes, load_image, open_picture, read_header
from tagformer.images.source import ImageSource, Rendered

KINDS = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}  # of Pillow; other kinds are called like their files
FULL_COLOUR = 90  # quality from which colours are kept at full size too
GAP = 2.0  # how much larger a JPEG is decoded at least, as by Pillow's thumbnails, for the pixels to come out well
PROBE = 1 / 8  # a broken JPEG is found at any scale


@dataclass(frozen=True)
class Prepared:
    """An image as it is to be written.

    Attributes:
        width, height: in pixels, upright.
        extension: of its file, with the dot.
        path: where it lies; None where `data` holds it.
        data: the encoded image.
    """

    width: int
    height: int
    extension: str
    path: Path | None = None
    data: bytes | None = None


def as_it_is(source: ImageSource, stored: bool, data: bytes | None = None) -> Prepared:
    """The image unchanged; one that is drawn becomes a PNG. Only its header is looked at.

    Args:
        stored: give its bytes, even where it is a file.
        data: the encoded image, where it was read already.

    Raises:
        BadImageError: missing, not an image, or of a kind that cannot be stored.
    """
    if isinstance(source, Rendered):
        picture, buffer = load_image(source), io.BytesIO()
        picture.save(buffer, "PNG")
        return Prepared(*picture.size, ".png", data=buffer.getvalue())
    if data is None and (stored or not isinstance(source, Path)):
        data = encoded_bytes(source)
    header = read_header(source, data)
    if isinstance(source, Path) and not stored:
        return Prepared(header.width, header.height, source.suffix, path=source)
    extension = KINDS.get(header.kind, f".{header.kind.lower()}")
    if extension not in EXTENSIONS:
        raise BadImageError(f"image {source} is a {header.kind} file, which cannot be stored as it is: give a size.")
    return Prepared(header.width, header.height, extension, data=data)


def resized(source: ImageSource, size: int, quality: int, data: bytes | None = None) -> Prepared:
    """The image as an upright JPEG whose shorter side is `size`, or its own where that is less.

    A JPEG that need not change, upright RGB or grey, is given as it is.

    Args:
        quality: the JPEG's, 1 to 100.
        data: the encoded image, where it was read already.

    Raises:
        BadImageError: it cannot be read.
    """
    if isinstance(source, Rendered):
        return _encoded(open_picture(source), size, quality)
    data = encoded_bytes(source) if data is None else data
    header = read_header(source, data)
    picture = open_picture(source, data)
    if min(picture.width, picture.height) <= size and header.plain:
        picture.pixels(PROBE)
        return Prepared(picture.width, picture.height, ".jpg", data=data)
    return _encoded(picture, size, quality)


def _encoded(picture: Picture, size: int, quality: int) -> Prepared:
    scale = min(1.0, size / min(picture.width, picture.height))
    width, height = (max(1, round(side * scale)) for side in (picture.width, picture.height))
    image = Image.fromarray(picture.pixels(min(1.0, GAP * scale)).permute(1, 2, 0).numpy())
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:4:4" if quality >= FULL_COLOUR else "4:2:0")
    return Prepared(width, height, ".jpg", data=buffer.getvalue())


def file_name(image_id: str) -> str:
    """A path for an image, without its extension, that any file system takes, below the folder that it is for."""
    stem, own = os.path.splitext(image_id)
    parts = (stem if own.lower() in EXTENSIONS else image_id).split("/")
    safe = [re.sub(r'[<>:"\\|?*\x00-\x1f\x7f]', "_", part).encode()[:200].decode(errors="ignore") for part in parts]
    *folders, last = [part for part in safe if part not in ("", ".", "..")] or ["_"]
    # A folder may not be called like an image, which lies beside it perhaps.
    folders = [f"{name}_" if os.path.splitext(name)[1].lower() in EXTENSIONS else name for name in folders]
    return "/".join([*folders, last])
