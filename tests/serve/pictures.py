"""Encoded pictures, whole and hostile."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tagformer.data import load_dataset
from tagformer.images.reading import load_image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scenes(count: int) -> list[Image.Image]:
    """Different pictures."""
    return [load_image(record.image) for record in load_dataset("scenes?images=96", "train")][:count]


def png_of_size(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG whose header says how large it is, with next to no data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def bomb(side: int = 12_000) -> bytes:
    """A PNG of a few kilobytes that would take much memory."""
    return encoded(Image.new("1", (side, side)), optimize=True)


def hostile() -> dict[str, bytes]:
    """Bodies that are not what a client should send, or that are but are unusual, by what they are."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    jpeg, png, gif = encoded(picture, "JPEG"), encoded(picture), encoded(picture, "GIF")
    frames = [picture.rotate(angle) for angle in (0, 90, 180)]
    sixteen = Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21)
    broken_jpeg = bytearray(jpeg)
    broken_jpeg[200:400] = b"\xff" * 200
    wrong_crc = bytearray(png)
    wrong_crc[40] ^= 0xFF
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = picture.quantize(16)
    return {
        "no bytes": b"",
        "a zero byte": b"\0",
        "zeros": bytes(100_000),
        "ones": b"\xff" * 100_000,
        "noise": np.random.default_rng(1).bytes(50_000),
        "text": b"a photograph of a dog",
        "html": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="10" height="10"/></svg>',
        "svg with a file": b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        "pdf": b"%PDF-1.4\n1 0 obj << >> endobj\ntrailer << >>\n%%EOF",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\nshowpage\n%%EOF\n",
        "zip": b"PK\x05\x06" + bytes(18),
        "gzip": b"\x1f\x8b\x08" + bytes(30),
        "json": b'{"image": "x"}',
        "truncated jpeg": jpeg[: len(jpeg) // 2],
        "jpeg header": jpeg[:20],
        "jpeg magic": b"\xff\xd8\xff",
        "broken jpeg": bytes(broken_jpeg),
        "jpeg with more after it": jpeg + b"<script>" * 1000,
        "two jpegs": jpeg + jpeg,
        "truncated png": png[: len(png) // 2],
        "png header": png[:33],
        "png magic": png[:8],
        "wrong crc": bytes(wrong_crc),
        "truncated gif": gif[: len(gif) // 3],
        "huge png": png_of_size(2**31 - 1, 2**31 - 1),
        "wide png": png_of_size(2**31 - 1, 1),
        "empty png": png_of_size(0, 0),
        "png of 100,001 x 1000": png_of_size(100_001, 1000),
        "png with too little data": png_of_size(500, 500),
        "strange depth": png_of_size(10, 10, depth=3),
        "bomb": bomb(),
        "huge gif": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02L\x01\0;",
        "huge bmp": b"BM"
        + struct.pack("<IHHI", 100, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 2**30, 2**30, 1, 24, *[0] * 6),
        "huge tiff": b"II*\0\x08\0\0\0\x02\0"
        + struct.pack("<HHII", 256, 4, 1, 2**31)
        + struct.pack("<HHII", 257, 4, 1, 2**31)
        + bytes(4),
        "tiff that goes round in circles": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
        "webp magic": b"RIFF\x10\0\0\0WEBPVP8 ",
        "one pixel": encoded(Image.new("RGB", (1, 1))),
        "one row": encoded(Image.new("RGB", (3000, 1))),
        "grey": encoded(picture.convert("L")),
        "16 bits": encoded(sixteen),
        "1 bit": encoded(picture.convert("1")),
        "palette": encoded(palette),
        "palette with transparency": encoded(palette, transparency=3),
        "rgba": encoded(picture.convert("RGBA")),
        "grey with alpha": encoded(picture.convert("LA")),
        "cmyk": encoded(picture.convert("CMYK"), "JPEG"),
        "ycbcr tiff": encoded(picture.convert("YCbCr"), "TIFF"),
        "floating tiff": encoded(picture.convert("F"), "TIFF"),
        "sideways jpeg": encoded(picture, "JPEG", exif=exif),
        "progressive jpeg": encoded(picture, "JPEG", progressive=True),
        "animated gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "animated png": encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "icon": encoded(picture.resize((32, 32)), "ICO"),
        "bmp": encoded(picture, "BMP"),
    }
