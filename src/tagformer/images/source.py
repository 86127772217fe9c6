"""Where an image comes from: a file, a drawing, or bytes within another file."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image


@runtime_checkable
class Rendered(Protocol):
    """An image that is drawn when asked for, instead of read from a file."""

    def render(self) -> Image.Image: ...


@runtime_checkable
class Stored(Protocol):
    """An encoded image that is no file of its own: part of a shard, a cell of a table. ``str()`` says where it is."""

    def read(self) -> bytes: ...


ImageSource = Path | Rendered | Stored
