"""The images of the page: those that the server was started with, and those that people add."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tagformer.errors import BadImageError, TagformerError
from tagformer.files import atomic_write
from tagformer.images.reading import open_picture
from tagformer.images.source import ImageSource, Rendered

THUMBNAIL, LARGEST = 320, 1600  # pixels of the longer side
THUMBNAILS, PICTURES = 4000, 24  # that are kept; some 15 kB and 200 kB each
KINDS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}


@dataclass(frozen=True)
class PageImage:
    """An image of the page.

    Attributes:
        id: unique, the same whenever the server is started; answers are kept by it.
        source: where its pixels come from.
        name: for people.
    """

    id: str
    source: ImageSource
    name: str


class Pictures:
    """The images of the page, by number; safe for several threads.

    Args:
        images: the first images.
        folder: where added images are kept; those of earlier visits are there already.

    >>> from pathlib import Path
    >>> from tagformer.serve.workspace.pictures import PageImage, Pictures
    >>> pictures = Pictures([PageImage("a.jpg", Path("photos/a.jpg"), "a.jpg")], Path("added"))
    >>> len(pictures), pictures[0].name, pictures.number("a.jpg")
    (1, 'a.jpg', 0)
    """

    def __init__(self, images: Sequence[PageImage], folder: Path) -> None:
        self.folder = folder
        self._images = list(images)
        self._numbers = {image.id: number for number, image in enumerate(self._images)}
        self._lock = threading.Lock()
        self._encoded: dict[int, OrderedDict[int, bytes]] = {THUMBNAIL: OrderedDict(), LARGEST: OrderedDict()}
        if len(self._numbers) < len(self._images):
            raise TagformerError("two images have the same id.")
        for file in sorted(folder.glob("*")) if folder.is_dir() else ():
            if file.suffix in KINDS.values():
                self._append(_added(file))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> PageImage:
        return self._images[number]

    def __iter__(self) -> Iterator[PageImage]:
        return iter(tuple(self._images))

    def number(self, image_id: str) -> int | None:
        """The number of the image with this id; None where there is none."""
        return self._numbers.get(image_id)

    def add(self, data: bytes) -> int:
        """Keep an image that a person added, and give its number; the same image twice is one.

        Raises:
            BadImageError: it cannot be read.
            CannotWriteError: the folder cannot be written.
        """
        upload = _Bytes(data)
        open_picture(upload).pixels(0.1)
        with Image.open(io.BytesIO(data)) as image:
            suffix = KINDS.get(image.format or "")
        if suffix is None:
            raise BadImageError(f"{upload}: send it as JPEG, PNG, WebP, GIF, TIFF or BMP.")
        name = f"{hashlib.blake2b(data, digest_size=12).hexdigest()}{suffix}"
        with self._lock:
            known = self._numbers.get(f"added/{name}")
            if known is not None:
                return known
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.folder / name) as temporary:
                temporary.write_bytes(data)
            return self._append(_added(self.folder / name))

    def jpeg(self, number: int, longest: int) -> bytes:
        """An image as JPEG, upright, its longer side at most this many pixels; the last ones are kept.

        Raises:
            BadImageError: it cannot be read.
        """
        kept = self._encoded[longest]
        with self._lock:
            if number in kept:
                kept.move_to_end(number)
                return kept[number]
        data = encode_jpeg(self._images[number].source, longest)
        with self._lock:
            kept[number] = data
            while len(kept) > (THUMBNAILS if longest == THUMBNAIL else PICTURES):
                kept.popitem(last=False)
        return data

    def _append(self, image: PageImage) -> int:
        self._numbers[image.id] = len(self._images)
        self._images.append(image)
        return len(self._images) - 1


def encode_jpeg(source: ImageSource, longest: int) -> bytes:
    """An image as JPEG, upright; it is made smaller where its longer side has more pixels than `longest`.

    Raises:
        BadImageError: it cannot be read.
    """
    picture = open_picture(source)
    scale = min(1.0, longest / max(picture.width, picture.height))
    pixels = picture.pixels(scale).permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Small drawings stay sharp: without the usual halving of the colours.
    image.save(buffer, "JPEG", quality=88, subsampling=0 if max(image.size) <= THUMBNAIL else 2)
    return buffer.getvalue()


@dataclass(frozen=True)
class _Bytes:
    data: bytes

    def read(self) -> bytes:
        return self.data

    def __str__(self) -> str:
        return "that was added"


def _added(file: Path) -> PageImage:
    return PageImage(f"added/{file.name}", file, f"added {file.stem[:8]}")


def of_sources(sources: Sequence[ImageSource], ids: Sequence[str]) -> list[PageImage]:
    """Images of a data set or of a folder; the name of a file is the last part of its path.

    >>> from pathlib import Path
    >>> of_sources([Path("photos/a.jpg")], ["photos/a.jpg"])[0].name
    'a.jpg'
    """
    return [
        PageImage(image_id, source, image_id if isinstance(source, Rendered) else str(image_id).rsplit("/", 1)[-1])
        for image_id, source in zip(ids, sources, strict=True)
    ]
