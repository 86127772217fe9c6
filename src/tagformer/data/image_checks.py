"""What is wrong with the images of a data set: broken, tiny, twice the same, or the same in training and test."""

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

TINY = 32  # pixels of the shorter side
SCALE = 1 / 8  # a broken JPEG is found at any scale
CHUNK = 4096  # images that are on their way at once


@dataclass(frozen=True)
class Inspection:
    """
    Attributes:
        bad: one sentence for each image that cannot be read.
        tiny: the ids of images whose shorter side is below 32 pixels, with their split.
        twins: groups of two or more ids of one split whose files are the same, with the split.
        leaks: for each pair of splits the pairs of ids whose files are the same.
    """

    bad: tuple[str, ...]
    tiny: tuple[tuple[str, str], ...]
    twins: tuple[tuple[str, tuple[str, ...]], ...]
    leaks: Mapping[tuple[str, str], tuple[tuple[str, str], ...]]

    @property
    def warnings(self) -> list[str]:
        """What was found, a sentence each."""
        found = []
        for split in dict.fromkeys(split for split, _ in self.tiny):
            own = [image for where, image in self.tiny if where == split]
            found.append(f"{split}: {_images(own)} below {TINY} pixels on the shorter side, the first is {own[0]}")
        for split in dict.fromkeys(split for split, _ in self.twins):
            groups = [group for where, group in self.twins if where == split]
            own = [image for group in groups for image in group[1:]]
            found.append(f"{split}: {_images(own)} there twice, the first is {own[0]}, the same as {groups[0][0]}")
        for (one, other), pairs in self.leaks.items():
            first, same = pairs[0]
            found.append(f"{other}: {_images(pairs)} in {one} too, the first is {same}, the same as {first}")
        return found


def inspect_images(
    splits: Mapping[str, MultiLabelDataset], progress: Callable[[int], None] | None = None
) -> Inspection:
    """Read every image once.

    Args:
        splits: the data set's splits by name.
        progress: called with the number of images read so far.
    """
    bad: list[str] = []
    tiny: list[tuple[str, str]] = []
    same: dict[str, dict[bytes, list[str]]] = {split: {} for split in splits}
    done = 0
    with ThreadPoolExecutor() as pool:  # files are read and decoded outside the interpreter's lock
        for split, dataset in splits.items():
            for start in range(0, len(dataset), CHUNK):
                rows = range(start, min(start + CHUNK, len(dataset)))
                for row, found in zip(rows, pool.map(lambda row: _look(dataset.images[row]), rows), strict=True):  # noqa: B023
                    image_id = dataset.ids[row]
                    if isinstance(found, str):
                        bad.append(found)
                    else:
                        side, digest = found
                        same[split].setdefault(digest, []).append(image_id)
                        if side < TINY:
                            tiny.append((split, image_id))
                    done += 1
                    if progress:
                        progress(done)
    twins = [(split, tuple(ids)) for split, groups in same.items() for ids in groups.values() if len(ids) > 1]
    leaks = {}
    for one, other in combinations(splits, 2):
        shared = [digest for digest in same[other] if digest in same[one]]
        if shared:
            leaks[one, other] = tuple(
                (same[one][digest][0], image) for digest in shared for image in same[other][digest]
            )
    return Inspection(tuple(bad), tuple(tiny), tuple(twins), leaks)


def _look(source: ImageSource) -> tuple[int, bytes] | str:
    """(shorter side, hash of the file), or what is wrong with it."""
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


def _images(found: Sequence[object]) -> str:
    return "1 image is" if len(found) == 1 else f"{len(found)} images are"
