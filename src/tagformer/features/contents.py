"""What identifies an image: a digest of its content, not its name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import ImageItems, seeded
from tagformer.data.loader.sampler import derive_seed
from tagformer.errors import BadImageError
from tagformer.images.reading import Picture, encoded_bytes, open_picture
from tagformer.images.source import ImageSource, Rendered
from tagformer.images.transforms import ImageTransform

CHUNK = 4096  # images that are submitted to the threads at once


def content_digest(source: ImageSource, data: bytes | None = None) -> str:
    """BLAKE2b of an image's encoded bytes, or of the pixels of a drawing.

    Args:
        data: the encoded bytes, where the caller has them already.

    Raises:
        BadImageError: it cannot be read.
    """
    if isinstance(source, Rendered):
        image = source.render()
        data = f"{image.mode}/{image.size}/".encode() + np.asarray(image).tobytes()
    elif data is None:
        data = encoded_bytes(source)
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def content_digests(dataset: MultiLabelDataset) -> tuple[list[str | None], dict[int, str]]:
    """The digest of each row's image, None where it cannot be read, and for those rows a sentence on why."""

    def digest(row: int) -> str | BadImageError:
        try:
            return content_digest(dataset.images[row])
        except BadImageError as error:
            return error

    digests: list[str | None] = []
    bad: dict[int, str] = {}
    with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter's lock
        for start in range(0, len(dataset), CHUNK):
            for found in pool.map(digest, range(start, min(start + CHUNK, len(dataset)))):
                if isinstance(found, BadImageError):
                    bad[len(digests)] = str(found)
                digests.append(found if isinstance(found, str) else None)
    return digests, bad


class ContentItems(ImageItems):
    """Images as a view shows them; random crops depend only on the view's name and the image's content.

    Args:
        dataset, transform: as in `ImageItems`.
        view: its name.
        digests: the content digest of each row.
    """

    def __init__(
        self, dataset: MultiLabelDataset, transform: ImageTransform, view: str, digests: Sequence[str | None]
    ) -> None:
        super().__init__(dataset, transform)
        self.view, self.digests = view, digests

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[int, Tensor | str]:
        """(row, uint8 image), or (row, a sentence on why it cannot be read)."""
        assert isinstance(key, int)
        assert self.transform is not None
        source, digest = self.dataset.images[key], self.digests[key]
        try:
            picture = self._picture(source, digest)
            with seeded(derive_seed("view", self.view, digest)):
                return key, self.transform(picture)
        except BadImageError as error:
            return key, str(error)

    @staticmethod
    def _picture(source: ImageSource, digest: str | None) -> Picture:
        if isinstance(source, Rendered):
            return open_picture(source)
        data = encoded_bytes(source)
        if content_digest(source, data) != digest:
            raise BadImageError(f"image {source} was changed while it was read.")
        return open_picture(source, data)
