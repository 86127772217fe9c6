"""Mutated image files are read, or raise BadImageError; nothing else."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from tagformer.errors import BadImageError
from tagformer.images import load_image, open_picture

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF")
COUNT = 60  # of each format


def encoded(kind: str, draw: random.Random) -> bytes:
    """A small picture in the format, in one of its modes."""
    rows, columns = np.mgrid[0:24, 0:32]
    pixels = np.stack([8 * columns, 10 * rows, 255 - 8 * columns], axis=2).astype(np.uint8)
    modes = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "RGBA", "P", "1"), "TIFF": ("RGB", "L", "CMYK")}
    image = Image.fromarray(pixels).convert(draw.choice(modes.get(kind, ("RGB",))))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def mutated(data: bytes, draw: random.Random) -> bytes:
    """The data with some bytes changed, cut out, repeated, or cut off at the end."""
    content = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        place = draw.randrange(len(content))
        kind = draw.randrange(5)
        if kind < 2:
            content[place] = draw.randrange(256)
        elif kind == 2:
            content[place : place + 4] = draw.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
        elif kind == 3:
            del content[place : place + draw.randint(1, 20)]
        else:
            content[place:place] = content[place : place + draw.randint(1, 20)]
        content = content or bytearray(b"\0")
    return bytes(content[: draw.randrange(len(content)) + 1] if draw.random() < 0.1 else content)


@pytest.mark.parametrize("kind", FORMATS)
def test_only_bad_image_errors_are_raised(tmp_path: Path, kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    draw, read = random.Random(kind), 0
    for number in range(COUNT):
        file = tmp_path / f"{number}.img"
        file.write_bytes(mutated(encoded(kind, draw), draw))
        try:
            open_picture(file).pixels(0.25)
            image = load_image(file)
        except BadImageError as error:
            message = str(error)
            assert str(file) in message and "\n" not in message  # noqa: PT018
        else:
            assert image.mode == "RGB"
            read += 1
    assert 0 < read < COUNT, "the mutations are neither harmless nor always fatal"
