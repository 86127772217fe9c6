"""Problems with the images of a data set: unreadable, tiny, duplicate, or in two splits at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import BadImageError
from tagformer.images.reading import open_picture
from tagformer.images.source import ImageSource, Rendered

TINY = 32  # an image is tiny if its shorter side has fewer pixels
SCALE = 1 / 8  # decoding at any scale finds a broken JPEG, and this one is the fastest
CHUNK = 4096  # images that are submitted to the threads at once


@dataclass(frozen=True)
class ImageProblems:
    """The problems that `inspect_images` found.

    Attributes:
        bad: one sentence for each image that cannot be read.
        tiny: (split, id) of each image whose shorter side is below 32 pixels.
        duplicates: (split, ids) for each group of two or more images of one split whose files are identical.
        leaks: for each pair of splits, the pairs of ids whose files are identical.
    """

    bad: tuple[str, ...]
    tiny: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, tuple[str, ...]], ...]
    leaks: Mapping[tuple[str, str], tuple[tuple[str, str], ...]]

    @property
    def warnings(self) -> list[str]:
        """One sentence for each kind of problem in each split, except unreadable images."""
        warnings = []
        for split in dict.fromkeys(split for split, _ in self.tiny):
            tiny = [image_id for tiny_split, image_id in self.tiny if tiny_split == split]
            warnings.append(
                f"{split}: {_images_are(tiny)} below {TINY} pixels on the shorter side, the first is {tiny[0]}"
            )
        for split in dict.fromkeys(split for split, _ in self.duplicates):
            groups = [ids for group_split, ids in self.duplicates if group_split == split]
            copies = [image_id for ids in groups for image_id in ids[1:]]
            count = _count(copies, "duplicate image")
            warnings.append(f"{split}: {count}, the first is {copies[0]}, the same file as {groups[0][0]}")
        for (one, other), pairs in self.leaks.items():
            original, copy = pairs[0]
            warnings.append(
                f"{other}: {_images_are(pairs)} also in {one}, the first is {copy}, the same file as {original}"
            )
        return warnings


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
    ids_of: dict[str, dict[bytes, list[str]]] = {split: {} for split in splits}  # split -> hash of the file -> ids
    done = 0
    with ThreadPoolExecutor() as pool:  # reading and decoding release the interpreter's lock
        for split, dataset in splits.items():
            for start in range(0, len(dataset), CHUNK):
                rows = range(start, min(start + CHUNK, len(dataset)))
                results = pool.map(_inspect, (dataset.images[row] for row in rows))
                for row, result in zip(rows, results, strict=True):
                    image_id = dataset.ids[row]
                    if isinstance(result, str):
                        bad.append(result)
                    else:
                        side, digest = result
                        ids_of[split].setdefault(digest, []).append(image_id)
                        if side < TINY:
                            tiny.append((split, image_id))
                    done += 1
                    if progress:
                        progress(done)
    duplicates = [(split, tuple(ids)) for split, groups in ids_of.items() for ids in groups.values() if len(ids) > 1]
    leaks = {}
    for one, other in combinations(splits, 2):
        shared = [digest for digest in ids_of[other] if digest in ids_of[one]]
        if shared:
            leaks[one, other] = tuple(
                (ids_of[one][digest][0], copy) for digest in shared for copy in ids_of[other][digest]
            )
    return ImageProblems(tuple(bad), tuple(tiny), tuple(duplicates), leaks)


def _inspect(source: ImageSource) -> tuple[int, bytes] | str:
    """(shorter side, hash of the file), or a sentence on why the image cannot be read."""
    try:
        picture = open_picture(source)
        pixels = picture.pixels(SCALE)
    except BadImageError as error:
        return str(error)
    if isinstance(source, Rendered):
        content = pixels.numpy().tobytes()
    else:
        content = source.read_bytes() if isinstance(source, Path) else source.read()
    return min(picture.width, picture.height), hashlib.blake2b(content, digest_size=16).digest()


def _count(items: Sequence[object], name: str) -> str:
    return f"1 {name}" if len(items) == 1 else f"{len(items)} {name}s"


def _images_are(images: Sequence[object]) -> str:
    return f"{_count(images, 'image')} {'is' if len(images) == 1 else 'are'}"
