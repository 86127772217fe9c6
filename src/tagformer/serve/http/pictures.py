"""Heat maps as pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tagformer.report.sheets.heat import HEAT, OPACITY, stretched
from tagformer.tagging.explanation import Explanation

SIDE = 512  # pixels of the longer side


def heat_png(explanation: Explanation, number: int, width: int, height: int) -> bytes:
    """A PNG of one of the maps, to be laid over the image: the more opaque the higher the map is.

    Args:
        width, height: of the image; the PNG has the same proportions and at most `SIDE` pixels per side.

    >>> import io, torch
    >>> from PIL import Image
    >>> from tagformer.serve.http.pictures import heat_png
    >>> from tagformer.tagging import Explanation, Tag
    >>> heat = torch.tensor([[[0.0, 1.0]]])
    >>> explanation = Explanation((Tag("dog", 0.9, 0.5, known=False),), heat, region=(0, 0, 1, 1))
    >>> picture = Image.open(io.BytesIO(heat_png(explanation, 0, 2048, 1024)))
    >>> picture.size, picture.mode, picture.getpixel((0, 9))[3], picture.getpixel((511, 9))[3]
    ((512, 256), 'RGBA', 0, 178)
    """
    scale = min(1.0, SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    values, (left, top, right, bottom) = stretched(Image.new("L", size), explanation.maps[number], explanation.region)
    pixels = np.zeros((size[1], size[0], 4), dtype=np.uint8)
    pixels[..., :3] = HEAT.astype(np.uint8)
    covered = pixels[top:bottom, left:right, 3]
    covered[:] = (255 * OPACITY * values[: covered.shape[0], : covered.shape[1]]).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
