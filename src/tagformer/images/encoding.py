"""Preparing an image for writing: unchanged, or as a JPEG of limited size."""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tagformer.errors import BadImageError
from tagformer.images.file_types import EXTENSIONS
from tagformer.images.reading import Picture, encoded_bytes, load_image, open_picture, read_header
from tagformer.images.source import ImageSource, Rendered

KINDS = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "TIFF": ".tif",
}  # where it is not Pillow's name of the format
FULL_COLOUR = 90  # the JPEG quality from which colours are stored at full resolution too
GAP = 2.0  # a JPEG is decoded at least this much larger than the result, as in Pillow's thumbnails, for good quality
PROBE = 1 / 8  # decoding at any scale finds a broken JPEG, and this one is the fastest


@dataclass(frozen=True)
class Prepared:
    """An image that is ready to be written.

    Attributes:
        width, height: in pixels, of the upright image.
        extension: the file extension, with the dot.
        path: the file to copy; None where `data` holds the image.
        data: the encoded image; None where `path` has it.
    """

    width: int
    height: int
    extension: str
    path: Path | None = None
    data: bytes | None = None


def as_it_is(source: ImageSource, stored: bool, data: bytes | None = None) -> Prepared:
    """Prepare an image without any change; a rendered one becomes a PNG. Only the header is read.

    Args:
        stored: read the bytes even of a file, because the target stores images inside another file.
        data: the encoded image, where the caller has it already.

    Raises:
        BadImageError: the file is missing or not an image, or its format cannot be stored.
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
    """Prepare an image as an upright JPEG whose shorter side is at most `size`; a smaller image keeps its size.

    An upright JPEG, RGB or grey, that is small enough already is kept byte for byte.

    Args:
        quality: the quality of the JPEG, 1 to 100.
        data: the encoded image, where the caller has it already.

    Raises:
        BadImageError: the image cannot be read.
    """
    if isinstance(source, Rendered):
        return _encoded(open_picture(source), size, quality)
    data = encoded_bytes(source) if data is None else data
    header = read_header(source, data)
    picture = open_picture(source, data)
    if min(picture.width, picture.height) <= size and header.plain:
        picture.pixels(PROBE)  # raises where the image is broken
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
    """A relative path for an image, without extension, that every file system accepts.

    >>> from tagformer.images.encoding import file_name
    >>> file_name("../cats/what?.jpg")
    'cats/what_'
    """
    stem, extension = os.path.splitext(image_id)
    parts = (stem if extension.lower() in EXTENSIONS else image_id).split("/")
    safe = [re.sub(r'[<>:"\\|?*\x00-\x1f\x7f]', "_", part).encode()[:200].decode(errors="ignore") for part in parts]
    *folders, last = [part for part in safe if part not in ("", ".", "..")] or ["_"]
    # A folder named "a.jpg" could collide with an image of that name.
    folders = [f"{name}_" if os.path.splitext(name)[1].lower() in EXTENSIONS else name for name in folders]
    return "/".join([*folders, last])
