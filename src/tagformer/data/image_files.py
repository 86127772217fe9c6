"""The image files in a folder, and a sentence on the files that are passed over."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tagformer.errors import TagformerError
from tagformer.images.file_types import EXTENSIONS, HEIC

HIDDEN_FOLDERS = frozenset({"__MACOSX"})  # what macOS adds to a ZIP file; other hidden names begin with a dot


@dataclass
class PassedOver:
    """Counts of what was passed over in folders.

    Attributes:
        hidden: the number of hidden files and folders, such as ``._a.jpg`` and ``__MACOSX``.
        links: the number of links to folders that were not followed.
        endings: ending of a file -> number of files that are not hidden but not images.
    """

    hidden: int = 0
    links: int = 0
    endings: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.hidden or self.links or self.endings)

    def __str__(self) -> str:
        """For example ``2 .heic (install pillow-heif to read them), 1 hidden``."""
        counts = [f"{count} {ending or 'without an ending'}" for ending, count in self.endings.most_common()]
        if HEIC & self.endings.keys():
            first = next(i for i, ending in enumerate(dict(self.endings.most_common())) if ending in HEIC)
            counts[first] += " (pip install pillow-heif to read them)"
        counts += [f"{self.hidden} hidden"] if self.hidden else []
        counts += [f"{self.links} links to folders"] if self.links else []
        return ", ".join(counts)


def scan_folder(folder: Path, passed_over: PassedOver) -> tuple[list[str], list[str]]:
    """The names of the folders and of the images in a folder, each in alphabetical order.

    Args:
        passed_over: counts what is neither.

    Raises:
        TagformerError: the folder cannot be read.
    """
    folders, images = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir()
                ending = os.path.splitext(entry.name)[1].lower()
                if entry.name.startswith(".") or (is_folder and entry.name in HIDDEN_FOLDERS):
                    passed_over.hidden += 1
                elif is_folder:
                    folders.append(entry.name)
                elif ending in EXTENSIONS:
                    images.append(entry.name)
                else:
                    passed_over.endings[ending] += 1
    except OSError as error:
        raise TagformerError(f"cannot read {folder}: {error.strerror or error}.") from error
    return sorted(folders), sorted(images)


def walk_images(
    root: Path, below: str, passed_over: PassedOver, follow_links: bool = True, above: frozenset[Path] = frozenset()
) -> Iterator[str]:
    """The images in a folder of `root` and in all folders below it, as paths from `root`, in alphabetical order.

    Args:
        root: the folder that the paths begin in.
        below: the folder in it; "": `root` itself.
        passed_over: counts what is not an image.
        follow_links: whether links to folders are followed.
        above: the folders that contain this one, with links resolved.

    Raises:
        TagformerError: a folder cannot be read, or links to a folder that contains it.
    """
    folder = Path(os.path.realpath(root / below))
    if folder in above:
        raise TagformerError(f"{root / below} is a link to a folder that contains it: remove the link.")
    folders, images = scan_folder(root / below, passed_over)
    prefix = f"{below}/" if below else ""
    for image in images:
        yield f"{prefix}{image}"
    for name in folders:
        if not follow_links and os.path.islink(root / below / name):
            passed_over.links += 1
        else:
            yield from walk_images(root, f"{prefix}{name}", passed_over, follow_links, above | {folder})


def copies_by_name(root: Path, files: Sequence[str]) -> dict[int, int]:
    """Position of a copy -> position of the first file, for files with the same name and the same content.

    Args:
        root: what the files are relative to. Only files that share their name with others are looked at, and only
            those are read of which also the sizes are equal.
    """
    hashes = np.fromiter((hash(os.path.basename(file)) for file in files), dtype=np.int64, count=len(files))
    unique, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    if len(unique) == len(files):
        return {}
    groups: dict[str, list[int]] = {}
    for position in np.flatnonzero(counts[inverse] > 1).tolist():
        groups.setdefault(os.path.basename(files[position]), []).append(position)
    copies: dict[int, int] = {}
    for group in groups.values():
        originals: dict[bytes, int] = {}
        for position in _same_size(root, files, group):
            try:
                digest = hashlib.blake2b((root / files[position]).read_bytes()).digest()
            except OSError:
                continue  # reported when the image is read
            original = originals.setdefault(digest, position)
            if original != position:
                copies[position] = original
    return copies


def _same_size(root: Path, files: Sequence[str], positions: Iterable[int]) -> list[int]:
    """The positions of the files whose size another of them has."""
    sizes: dict[int, int] = {}
    for position in positions:
        try:
            sizes[position] = os.stat(root / files[position]).st_size
        except OSError:
            continue
    counts = Counter(sizes.values())
    return [position for position, size in sizes.items() if counts[size] > 1]
