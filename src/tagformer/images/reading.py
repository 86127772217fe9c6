"""Reading any image as 8-bit RGB. An image that cannot be read raises an error whose one sentence names it.

A JPEG is decoded at a half, a quarter or an eighth of its size where that is still large enough.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from tagformer.errors import BadImageError
from tagformer.files import check_regular, read_bytes
from tagformer.images.orientation import SIDEWAYS, turn_of, turned
from tagformer.images.rgb import rgb_image, rgb_pixels
from tagformer.images.source import ImageSource, Rendered, Stored

try:
    import simplejpeg
except ImportError:  # there is no wheel for this platform: Pillow decodes instead, a little slower
    simplejpeg = None

MOST_PIXELS = 100_000_000  # of an image that is not a JPEG; a JPEG is decoded at a smaller scale
LARGE = 8_000_000  # pixels from which images other than JPEGs are reduced too
REDUCTIONS = (8, 4, 2)  # libjpeg decodes directly at 1/8, 1/4 and 1/2 of the size


class Picture:
    """An image whose size is known and whose pixels are decoded on demand.

    Attributes:
        width, height: in pixels, of the upright image.

    >>> from PIL import Image
    >>> from tagformer.images import Picture
    >>> picture = Picture.of(Image.new("L", (6, 4), 9))
    >>> picture.width, picture.height, picture.pixels().shape
    (6, 4, torch.Size([3, 4, 6]))
    """

    def __init__(self, width: int, height: int, decode: Callable[[float], Tensor]) -> None:
        self.width, self.height = width, height
        self._decode = decode

    def pixels(self, scale: float = 1.0) -> Tensor:
        """uint8 RGB (3, h, w), upright, in the channels-last memory format.

        Args:
            scale: the share of the full width and height that is needed. The result may be larger.

        Raises:
            BadImageError: the image is broken.
        """
        return self._decode(scale)

    @classmethod
    def of(cls, image: Image.Image) -> Picture:
        """A picture from an image in memory, of any mode."""
        upright = to_rgb(image)
        return cls(*upright.size, lambda scale: _tensor(np.array(upright)))


def open_picture(source: ImageSource, data: bytes | None = None) -> Picture:
    """Read an image and its header; the pixels are decoded later.

    Args:
        data: the encoded image, where the caller has it already.

    Raises:
        BadImageError: the file is missing, empty or not an image, or has more pixels than Pillow's limit for
            decompression bombs.

    >>> from pathlib import Path
    >>> from tagformer.images import open_picture
    >>> open_picture(Path("none.jpg"))
    Traceback (most recent call last):
    tagformer.errors.BadImageError: image none.jpg does not exist.
    """
    if isinstance(source, Rendered):
        return Picture.of(source.render())
    data = encoded_bytes(source) if data is None else data
    header = read_header(source, data)
    simple = header.kind == "JPEG" and header.mode in ("RGB", "L")

    def decode(scale: float) -> Tensor:
        with _bad_image_errors(source):
            if simple:
                return _tensor(turned(_jpeg_pixels(data, scale), header.turn))
            return _tensor(_other_pixels(data, scale))

    return Picture(header.width, header.height, decode)


def encoded_bytes(source: Path | Stored) -> bytes:
    """The bytes of an encoded image.

    Raises:
        BadImageError: it cannot be read.
    """
    with _bad_image_errors(source):
        return read_bytes(source) if isinstance(source, Path) else source.read()


@dataclass(frozen=True)
class Header:
    """The properties in an image's header.

    Attributes:
        kind, mode: Pillow's names for the file format and the pixels, for example "JPEG" and "RGB".
        width, height: in pixels, of the upright image.
        turn: the transposition that makes the image upright; None where it is upright already.
    """

    kind: str
    mode: str
    width: int
    height: int
    turn: Image.Transpose | None

    @property
    def plain(self) -> bool:
        """Whether this is an upright JPEG, RGB or grey."""
        return self.kind in ("JPEG", "MPO") and self.mode in ("RGB", "L") and self.turn is None


def read_header(source: Path | Stored, data: bytes | None = None) -> Header:
    """Read the header of an image.

    Args:
        data: the encoded image, where the caller has it already. Otherwise only the header of a file is read.

    Raises:
        BadImageError: see `open_picture`.
    """
    with _bad_image_errors(source):
        file: Path | io.BytesIO
        if data is None and isinstance(source, Path):
            check_regular(source)
            file = source
        else:
            data = encoded_bytes(source) if data is None else data
            header = _plain_jpeg_header(data)
            if header is not None:
                return header
            file = io.BytesIO(data)
        with Image.open(file) as image:
            _check(image)
            turn = None if image.format == "TIFF" else turn_of(image)  # Pillow turns a TIFF, and its size, itself
            width, height = reversed(image.size) if turn in SIDEWAYS else image.size
            return Header(image.format or "", image.mode, width, height, turn)


def _plain_jpeg_header(data: bytes) -> Header | None:
    """The header of a JPEG that is upright, 30 times as fast as with Pillow; None for any other image."""
    if simplejpeg is None or b"Exif\0\0" in data or b"tiff:Orientation" in data:
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    mode = {"YCbCr": "RGB", "RGB": "RGB", "Gray": "L"}.get(space)
    if mode is None or (Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS):
        return None
    return Header("JPEG", mode, width, height, None)


def load_image(source: ImageSource) -> Image.Image:
    """Read an image as upright 8-bit RGB in full size.

    The EXIF orientation is applied, transparent images are put on white, 16-bit values keep their upper 8 used bits
    (of 8, 10, 12, 14 or 16), and grey, palette and CMYK images are converted. The first frame of an animation is used.

    Raises:
        BadImageError: the file is missing, empty, truncated or not an image, or has more pixels than Pillow's limit
            for decompression bombs.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from tagformer.images import load_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (6, 4)).save(Path(folder) / "grey.png")
    ...     image = load_image(Path(folder) / "grey.png")
    >>> image.mode, image.size
    ('RGB', (6, 4))
    """
    if isinstance(source, Rendered):
        return to_rgb(source.render())
    with _bad_image_errors(source):
        return load_image_bytes(read_bytes(source) if isinstance(source, Path) else source.read())


def load_image_bytes(data: bytes) -> Image.Image:
    """Decode an image as `load_image` does, but raise Pillow's own errors."""
    with Image.open(io.BytesIO(data)) as image:
        _check(image)
        image.load()
        return to_rgb(image)


def _check(image: Image.Image) -> None:
    """Reject, before decoding, a program, and so many pixels that decoding them would take over about 600 MB.

    Raises:
        ValueError: it is an EPS file; to decode it, Pillow would have Ghostscript run it.
        Image.DecompressionBombError: it has too many pixels.
    """
    if image.format == "EPS":
        raise ValueError("an EPS file is a program, which is not run")
    if image.format not in ("JPEG", "MPO") and image.width * image.height > MOST_PIXELS:
        raise Image.DecompressionBombError(f"over {MOST_PIXELS // 1_000_000} million pixels")


@contextmanager
def _bad_image_errors(source: ImageSource) -> Iterator[None]:
    """Raise the errors of reading an image as a BadImageError that names the image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow only warns of can still be read
            yield
    except BadImageError:
        raise
    except FileNotFoundError as error:
        raise BadImageError(f"image {source} does not exist.") from error
    except IsADirectoryError as error:
        raise BadImageError(f"image {source} is a folder.") from error
    except Image.DecompressionBombError as error:
        limit = min(MOST_PIXELS, 2 * (Image.MAX_IMAGE_PIXELS or MOST_PIXELS)) // 1_000_000
        raise BadImageError(f"image {source} has over {limit} million pixels: scale it down.") from error
    except UnidentifiedImageError as error:
        empty = isinstance(source, Path) and source.stat().st_size == 0
        raise BadImageError(f"image {source} {'is an empty file' if empty else 'is not an image'}.") from error
    except Exception as error:  # decoders raise errors of any kind, among them MemoryError and struct.error
        if isinstance(error, OSError) and error.strerror:
            raise BadImageError(f"image {source} cannot be read ({error.strerror}).") from error
        reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise BadImageError(f"image {source} is broken ({reason}).") from error


def _jpeg_pixels(data: bytes, scale: float) -> np.ndarray:
    """uint8 (h, w, 3) at the smallest of the scales 1, 1/2, 1/4 and 1/8 that is not below `scale`."""
    divisor = next((divisor for divisor in REDUCTIONS if scale * divisor <= 1), 1)
    if simplejpeg is not None:
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
            least = (math.ceil(height / divisor), math.ceil(width / divisor)) if divisor > 1 else (0, 0)
            fast = scale < 1  # 10 % faster; the error is below 1 of 255 once the image is resized
            return simplejpeg.decode_jpeg(data, "RGB", fast, fast, *least, 1)
        except ValueError:
            pass  # Pillow reads some files that simplejpeg does not, and has the clearer message for the others
    with Image.open(io.BytesIO(data)) as image:
        if divisor > 1:
            image.draft("RGB", (image.width // divisor, image.height // divisor))
        return np.array(image.convert("RGB"))


def _other_pixels(data: bytes, scale: float) -> np.ndarray:
    """Upright uint8 (h, w, 3) of an image that is not a plain JPEG; a large one is reduced while it is converted."""
    with Image.open(io.BytesIO(data)) as image:
        large = image.width * image.height > LARGE
        divisor = next((divisor for divisor in REDUCTIONS if scale * divisor <= 1), 1) if large else 1
        if divisor > 1:
            image.draft(None, (image.width // divisor, image.height // divisor))  # a JPEG is decoded smaller
            divisor = 1 if image.format in ("JPEG", "MPO") else divisor
        image.load()
        return turned(rgb_pixels(image, divisor), turn_of(image))  # Pillow turns a TIFF itself when it loads it


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a PIL image of any mode to upright 8-bit RGB, by the rules of `load_image`."""
    turn = turn_of(image)
    rgb = rgb_image(image)
    return rgb if turn is None else rgb.transpose(turn)
