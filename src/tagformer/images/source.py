"""Where an image comes from: a file, a drawing routine, or bytes within another file."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image


@runtime_checkable
class Rendered(Protocol):
    """An image that is drawn on demand.

    >>> from PIL import Image
    >>> from tagformer.images import Rendered, load_image
    >>> class Red:
    ...     def render(self):
    ...         return Image.new("RGB", (4, 2), "red")
    >>> isinstance(Red(), Rendered), load_image(Red()).size
    (True, (4, 2))
    """

    def render(self) -> Image.Image:
        """The image, in any mode that Pillow has."""
        ...


@runtime_checkable
class Stored(Protocol):
    """An encoded image within another file, such as a shard or a table. ``str()`` says where, for messages.

    >>> from tagformer.images import Stored
    >>> class Cell:
    ...     def read(self):
    ...         return b"the bytes of a JPEG"
    ...     def __str__(self):
    ...         return "table.parquet, row 7"
    >>> isinstance(Cell(), Stored)
    True
    """

    def read(self) -> bytes:
        """The encoded image, for example the bytes of a JPEG."""
        ...


ImageSource = Path | Rendered | Stored
