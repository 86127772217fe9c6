from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagformer.errors import BadImageError
from tagformer.images.reading import load_image, to_rgb

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
GRADIENT = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """Top left, top right, bottom left, bottom right."""
    right, bottom = image.width - 1, image.height - 1
    return [image.getpixel(at) for at in ((0, 0), (right, 0), (0, bottom), (right, bottom))]  # type: ignore[misc]


def four_corners() -> Image.Image:
    """6 x 4 pixels, black, with red, green, blue and white corners."""
    image = Image.new("RGB", (6, 4))
    for at, colour in zip(((0, 0), (5, 0), (0, 3), (5, 3)), (RED, GREEN, BLUE, WHITE), strict=True):
        image.putpixel(at, colour)
    return image


def noise(width: int = 64, height: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


# Which way is up


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),  # mirrored
        (3, [WHITE, BLUE, GREEN, RED]),  # turned by 180 degrees
        (4, [BLUE, WHITE, RED, GREEN]),  # upside down
        (5, [RED, BLUE, GREEN, WHITE]),  # columns as rows
        (6, [BLUE, RED, WHITE, GREEN]),  # turned by 90 degrees to the right
        (7, [WHITE, GREEN, BLUE, RED]),
        (8, [GREEN, WHITE, RED, BLUE]),  # turned by 90 degrees to the left
    ],
)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, expected: list[tuple[int, ...]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    four_corners().save(tmp_path / "a.png", exif=exif)
    image = load_image(tmp_path / "a.png")
    assert image.size == ((6, 4) if orientation < 5 else (4, 6))
    assert corners(image) == expected


def exif_with(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF of (tag, type, count, four bytes of value)."""
    fields = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + fields + struct.pack("<I", 0)


@pytest.mark.parametrize(
    "odd",
    [
        (0x011A, 2, 2, b"x\0\0\0"),  # the resolution as text
        (0x010F, 11, 1, struct.pack("<f", 1.5)),  # the maker's name as a number
        (0x0128, 2, 2, b"x\0\0\0"),  # the unit of resolution as text
    ],
)
def test_other_exif_fields_of_the_wrong_type_do_not_matter(tmp_path: Path, odd: tuple[int, int, int, bytes]) -> None:
    exif = exif_with((0x0112, 3, 1, struct.pack("<HH", 6, 0)), odd)
    four_corners().save(tmp_path / "a.png", exif=exif)
    assert corners(load_image(tmp_path / "a.png")) == [BLUE, RED, WHITE, GREEN]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_an_image_with_unreadable_exif_is_not_turned(tmp_path: Path, name: str) -> None:
    four_corners().save(tmp_path / name, exif=b"Exif\0\0garbage and more")
    assert load_image(tmp_path / name).size == (6, 4)


# Modes


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(GRADIENT).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.stack([GRADIENT] * 3, axis=2))


def test_black_and_white_becomes_0_and_255(tmp_path: Path) -> None:
    Image.fromarray(GRADIENT > 100).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(load_image(tmp_path / "a.png"))[..., 0], np.where(GRADIENT > 100, 255, 0))


def test_a_palette_image_has_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png")
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [RED, BLUE]


def test_a_transparent_palette_entry_is_put_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    for name in ("a.png", "a.gif"):
        image.save(tmp_path / name, transparency=1)
        loaded = load_image(tmp_path / name)
        assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE], name


def test_a_palette_with_alpha_is_put_on_white() -> None:
    image = Image.new("PA", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((0, 0), (0, 255))
    image.putpixel((1, 0), (1, 0))
    loaded = to_rgb(image)
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


def test_alpha_is_put_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((255, 0, 128)):
        image.putpixel((x, 0), (*RED, alpha))
    image.save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png")
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]
    half = loaded.getpixel((2, 0))
    assert half == (255, pytest.approx(127, abs=1), pytest.approx(127, abs=1))


def test_grey_with_alpha_is_put_on_white(tmp_path: Path) -> None:
    image = Image.new("LA", (2, 1), (40, 255))
    image.putpixel((1, 0), (40, 0))
    image.save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png")
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [(40, 40, 40), WHITE]


def test_a_transparent_colour_of_rgb_is_put_on_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), BLUE)
    image.save(tmp_path / "a.png", transparency=BLUE)
    loaded = load_image(tmp_path / "a.png")
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = load_image(tmp_path / "a.jpg").getpixel((8, 8))  # type: ignore[misc]
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_grey_keeps_its_upper_8_bits(tmp_path: Path, name: str) -> None:
    values = (GRADIENT.astype(np.uint16) << 8) + 77
    values[0, :2] = 0, 65535
    Image.fromarray(values).save(tmp_path / name)
    loaded = np.asarray(load_image(tmp_path / name))
    assert np.array_equal(loaded, np.stack([(values // 256).astype(np.uint8)] * 3, axis=2))


def test_floating_point_pixels_are_an_error(tmp_path: Path) -> None:
    Image.fromarray(GRADIENT.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(BadImageError, match=r"a\.tif is broken \(floating-point pixels have no agreed range\)"):
        load_image(tmp_path / "a.tif")


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "a.gif").getpixel((0, 0)) == RED


@pytest.mark.parametrize("name", ["a.bmp", "a.png", "a.tif", "a.ppm", "a.webp"])
def test_lossless_formats_keep_every_pixel(tmp_path: Path, name: str) -> None:
    noise().save(tmp_path / name, lossless=True)
    assert np.array_equal(np.asarray(load_image(tmp_path / name)), np.asarray(noise()))


def test_a_drawn_image_is_rendered() -> None:
    class Drawn:
        def render(self) -> Image.Image:
            return four_corners()

    assert corners(load_image(Drawn())) == [RED, GREEN, BLUE, WHITE]


# What cannot be read


def test_a_truncated_image_is_broken_at_any_length(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.webp"):
        noise().save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        for share in (0.05, 0.3, 0.6, 0.9):
            (tmp_path / name).write_bytes(content[: int(share * len(content))])
            with pytest.raises(BadImageError, match=f"{name} is (broken|not an image)"):
                load_image(tmp_path / name)


def test_an_empty_file_a_text_a_folder_and_a_missing_file_have_messages_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "folder.jpg").mkdir()
    for name, message in (
        ("empty.jpg", "is an empty file"),
        ("text.jpg", "is not an image"),
        ("folder.jpg", "is a folder"),
        ("missing.jpg", "does not exist"),
    ):
        with pytest.raises(BadImageError) as caught:
            load_image(tmp_path / name)
        assert str(caught.value) == f"image {tmp_path / name} {message}."


def test_an_image_beyond_the_limit_of_pixels_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise(64, 48).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 // 2 - 1)
    with pytest.raises(BadImageError, match=r"a\.png has over 0 million pixels: scale it down"):
        load_image(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 // 2)
    assert load_image(tmp_path / "a.png").size == (64, 48)


@pytest.mark.parametrize("kind", ["jpg", "png", "gif", "bmp"])
def test_damaged_bytes_give_an_image_or_one_clear_error(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"a.{kind}"
    noise(12, 10).save(file)
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 4):
            damaged[at] = rng.integers(256)
        file.write_bytes(damaged)
        with suppress(BadImageError):
            assert load_image(file).mode == "RGB"


def test_an_eps_file_is_not_run(tmp_path: Path) -> None:
    """Pillow would have Ghostscript run it, where that is installed."""
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\nshowpage\n%%EOF\n"
    (tmp_path / "photo.jpg").write_bytes(program)
    with pytest.raises(BadImageError, match=r"photo\.jpg is broken \(an EPS file is a program, which is not run\)"):
        load_image(tmp_path / "photo.jpg")
