"""Images that are in a data set more than once, found by the content of their files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from tagformer.data.dataset import MultiLabelDataset
from tagformer.labels.space import UNKNOWN

LIMIT = 50_000  # images up to which `find_copies` looks
BLOCK = 4096  # bytes that are compared before whole files are
Place = tuple[str, int]  # split and row


@dataclass(frozen=True)
class Copies:
    """The images of a data set whose files are identical.

    Attributes:
        duplicates: (split, ids) for each group of two or more images of one split.
        leaks: for each pair of splits, the pairs of ids.
        contradictions: pairs of (split, id), an image and its first copy whose known labels differ from it.
    """

    duplicates: tuple[tuple[str, tuple[str, ...]], ...] = ()
    leaks: Mapping[tuple[str, str], tuple[tuple[str, str], ...]] | None = None
    contradictions: tuple[tuple[tuple[str, str], tuple[str, str]], ...] = ()

    @classmethod
    def of(cls, splits: Mapping[str, MultiLabelDataset], groups: Iterable[Sequence[Place]]) -> Copies:
        """From groups of places with identical files.

        Args:
            splits: the data set's splits by name.
            groups: each in the order of the splits and rows; groups of one image are ignored.
        """
        duplicates, contradictions = [], []
        leaks: dict[tuple[str, str], list[tuple[str, str]]] = {pair: [] for pair in combinations(splits, 2)}
        for group in groups:
            if len(group) < 2:
                continue
            ids: dict[str, list[str]] = {}
            for name, row in group:
                ids.setdefault(name, []).append(splits[name].ids[row])
            duplicates += [(split, tuple(of_split)) for split, of_split in ids.items() if len(of_split) > 1]
            for one, other in combinations(ids, 2):
                leaks[one, other] += [(ids[one][0], copy) for copy in ids[other]]
            first = group[0]
            different = next((place for place in group[1:] if _contradict(splits, first, place)), None)
            if different is not None:
                first_id, other_id = (splits[name].ids[row] for name, row in (first, different))
                contradictions.append(((first[0], first_id), (different[0], other_id)))
        return cls(
            tuple(duplicates), {pair: tuple(pairs) for pair, pairs in leaks.items() if pairs}, tuple(contradictions)
        )

    @property
    def warnings(self) -> list[str]:
        """One sentence for the duplicates of each split, for each pair of splits, and for contradictions."""
        warnings = []
        for split in dict.fromkeys(split for split, _ in self.duplicates):
            groups = [ids for group_split, ids in self.duplicates if group_split == split]
            copies = [image_id for ids in groups for image_id in ids[1:]]
            count = "1 duplicate image" if len(copies) == 1 else f"{len(copies)} duplicate images"
            warnings.append(f"{split}: {count}, the first is {copies[0]}, the same file as {groups[0][0]}")
        for (one, other), pairs in (self.leaks or {}).items():
            original, copy = pairs[0]
            count = "1 image is" if len(pairs) == 1 else f"{len(pairs)} images are"
            warnings.append(f"{other}: {count} also in {one}, the first is {copy}, the same file as {original}")
        if self.contradictions:
            (first_split, original), (copy_split, copy) = self.contradictions[0]
            images = "1 image is" if len(self.contradictions) == 1 else f"{len(self.contradictions)} images are"
            warnings.append(
                f"{images} in the data more than once with different labels, the first is {original} ({first_split}), "
                f"the same file as {copy} ({copy_split}): list each image once, with all its labels"
            )
        return warnings


def find_copies(splits: Mapping[str, MultiLabelDataset]) -> Copies:
    """The image files that are identical. Only files of the same size are read, and first only a part of them.

    Args:
        splits: the data set's splits by name. With more than 50,000 images, or with images that are not files, nothing
            is looked at.
    """
    if sum(map(len, splits.values())) > LIMIT:
        return Copies()
    files = {
        (split, row): image
        for split, dataset in splits.items()
        for row, image in enumerate(dataset.images)
        if isinstance(image, Path)
    }
    groups: Iterable[list[Place]] = [list(files)]
    for key in (_size, _middle, _digest):
        groups = [part for group in groups for part in _divided(group, files, key)]
    return Copies.of(splits, groups)


def _divided(group: Sequence[Place], files: Mapping[Place, Path], key: Callable[[Path], Hashable]) -> list[list[Place]]:
    """The places of a group whose files have the same key, without those that are alone or cannot be read."""
    by_key: dict[Hashable, list[Place]] = {}
    for place in group:
        try:
            by_key.setdefault(key(files[place]), []).append(place)
        except (OSError, ValueError):
            continue  # reported when the image is read
    return [places for places in by_key.values() if len(places) > 1]


def _size(file: Path) -> int:
    return os.stat(file).st_size


def _middle(file: Path) -> bytes:
    with file.open("rb") as stream:
        stream.seek(max(0, (os.fstat(stream.fileno()).st_size - BLOCK) // 2))
        return stream.read(BLOCK)


def _digest(file: Path) -> bytes:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).digest()


def _contradict(splits: Mapping[str, MultiLabelDataset], one: Place, other: Place) -> bool:
    """Whether two images have different states of a label that is known on both."""
    first, second = (splits[split].label_rows[row] for split, row in (one, other))
    return bool(((first != second) & (first != UNKNOWN) & (second != UNKNOWN)).any())
