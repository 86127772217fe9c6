"""Problems with the images of a data set: unreadable, tiny, duplicate, or in two splits at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tagformer.data.copies import Copies, Place
from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import BadImageError
from tagformer.images.encoding import PROBE
from tagformer.images.reading import open_picture
from tagformer.images.source import ImageSource, Rendered

TINY = 32  # an image is tiny if its shorter side has fewer pixels
CHUNK = 4096  # images that are submitted to the threads at once


@dataclass(frozen=True)
class ImageProblems:
    """The problems that `inspect_images` found.

    Attributes:
        bad: one sentence for each image that cannot be read.
        tiny: (split, id) of each image whose shorter side is below 32 pixels.
        copies: the images whose files are identical.
    """

    bad: tuple[str, ...]
    tiny: tuple[tuple[str, str], ...]
    copies: Copies

    @property
    def warnings(self) -> list[str]:
        """One sentence for each kind of problem in each split, except unreadable images."""
        warnings = []
        for split in dict.fromkeys(split for split, _ in self.tiny):
            tiny = [image_id for tiny_split, image_id in self.tiny if tiny_split == split]
            count = "1 image is" if len(tiny) == 1 else f"{len(tiny)} images are"
            warnings.append(f"{split}: {count} below {TINY} pixels on the shorter side, the first is {tiny[0]}")
        return warnings + self.copies.warnings


def inspect_images(
    splits: Mapping[str, MultiLabelDataset], progress: Callable[[int], None] | None = None
) -> ImageProblems:
    """Read every image once, and report those with a problem.

    Args:
        splits: the data set's splits by name.
        progress: called with the number of images read so far.
    """
    bad: list[str] = []
    tiny: list[tuple[str, str]] = []
    places: dict[bytes, list[Place]] = {}  # hash of the file -> where it is
    done = 0
    with ThreadPoolExecutor() as pool:  # reading and decoding release the interpreter's lock
        for split, dataset in splits.items():
            for start in range(0, len(dataset), CHUNK):
                rows = range(start, min(start + CHUNK, len(dataset)))
                results = pool.map(_inspect, (dataset.images[row] for row in rows))
                for row, result in zip(rows, results, strict=True):
                    if isinstance(result, str):
                        bad.append(result)
                    else:
                        side, digest = result
                        places.setdefault(digest, []).append((split, row))
                        if side < TINY:
                            tiny.append((split, dataset.ids[row]))
                    done += 1
                    if progress:
                        progress(done)
    return ImageProblems(tuple(bad), tuple(tiny), Copies.of(splits, places.values()))


def _inspect(source: ImageSource) -> tuple[int, bytes] | str:
    """(shorter side, hash of the file), or a sentence on why the image cannot be read."""
    try:
        picture = open_picture(source)
        pixels = picture.pixels(PROBE)
    except BadImageError as error:
        return str(error)
    if isinstance(source, Rendered):
        content = pixels.numpy().tobytes()
    else:
        content = source.read_bytes() if isinstance(source, Path) else source.read()
    return min(picture.width, picture.height), hashlib.blake2b(content, digest_size=16).digest()
