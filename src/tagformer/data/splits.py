"""Drawing splits by a hash of each image's id."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tagformer.errors import TagformerError


def split_by_id(ids: Sequence[str], shares: dict[str, float], seed: int = 0) -> dict[str, list[int]]:
    """Draw splits: about the share of the images that each name is given, and ``train`` for the rest.

    A hash of seed and id decides, so an image stays on its side when others come or go. Only where that would leave a
    part empty (a few dozen images) the images are ranked by the hash instead, and each part gets at least one.

    Raises:
        TagformerError: too few images.
    """
    if len(ids) < len(shares) + 1:
        raise TagformerError(f"{len(ids)} images cannot be split into {len(shares) + 1} parts: more images are needed.")
    digests = [hashlib.blake2b(f"{seed}/{image_id}".encode(), digest_size=8).digest() for image_id in ids]
    places = [int.from_bytes(digest, "little") / 2**64 for digest in digests]
    parts = _cut(places, shares)
    if not all(parts.values()):
        order = sorted(range(len(ids)), key=places.__getitem__)
        sizes = {name: max(1, round(share * len(ids))) for name, share in shares.items()}
        ranks = {image: rank / len(ids) for rank, image in enumerate(order)}
        parts = _cut([ranks[i] for i in range(len(ids))], {name: size / len(ids) for name, size in sizes.items()})
    return parts


def _cut(places: Sequence[float], shares: dict[str, float]) -> dict[str, list[int]]:
    """The indices whose places in [0, 1) fall into each share, one after the other; ``train`` is the rest."""
    parts: dict[str, list[int]] = {name: [] for name in (*shares, "train")}
    for index, place in enumerate(places):
        limit = 0.0
        for name, share in shares.items():
            limit += share
            if place < limit - 1e-12:
                parts[name].append(index)
                break
        else:
            parts["train"].append(index)
    return parts
