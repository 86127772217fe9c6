"""The names of splits in files, folders and columns, and drawing splits by a hash of each image's id."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tagformer.errors import TagformerError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
    "test": "test",
    "testing": "test",
}


def split_of_name(name: str) -> str | None:
    """The split that a name means in any case: train, val or test; None where it is not the name of a split.

    >>> split_of_name("Valid"), split_of_name("training"), split_of_name("dogs")
    ('val', 'train', None)
    """
    return SPLIT_NAMES.get(name.strip().lower())


def split_by_id(ids: Sequence[str], shares: dict[str, float], seed: int = 0) -> dict[str, list[int]]:
    """Draw splits by a hash of seed and id, so an image stays in its split when others are added or removed.

    Each split gets about its share. Only where a split would be empty (with a few dozen images) the images are ranked
    by their hash instead, and each split gets at least one.

    Args:
        ids: the images' ids.
        shares: split -> share of the images; ``train`` gets the rest.
        seed: another seed draws other splits.

    Returns:
        split -> the positions of its images.

    Raises:
        TagformerError: too few images.

    >>> split_by_id(["a", "b", "c", "d"], {"val": 0.25})
    {'val': [0, 3], 'train': [1, 2]}
    """
    if len(ids) < len(shares) + 1:
        raise TagformerError(f"{len(ids)} images cannot be split into {len(shares) + 1} parts: more images are needed.")
    digests = [hashlib.blake2b(f"{seed}/{image_id}".encode(), digest_size=8).digest() for image_id in ids]
    draws = [int.from_bytes(digest, "little") / 2**64 for digest in digests]
    splits = _cut(draws, shares)
    if not all(splits.values()):
        order = sorted(range(len(ids)), key=draws.__getitem__)
        sizes = {name: max(1, round(share * len(ids))) for name, share in shares.items()}
        ranks = {image: rank / len(ids) for rank, image in enumerate(order)}
        splits = _cut([ranks[i] for i in range(len(ids))], {name: size / len(ids) for name, size in sizes.items()})
    return splits


def _cut(draws: Sequence[float], shares: dict[str, float]) -> dict[str, list[int]]:
    """The positions whose draw in [0, 1) falls into each share, one share after the other; ``train`` is the rest."""
    splits: dict[str, list[int]] = {name: [] for name in (*shares, "train")}
    for index, draw in enumerate(draws):
        limit = 0.0
        for name, share in shares.items():
            limit += share
            if draw < limit - 1e-12:
                splits[name].append(index)
                break
        else:
            splits["train"].append(index)
    return splits
