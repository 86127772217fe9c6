"""What is remembered of a data set's images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tagformer.data.columns import Rows
from tagformer.features.segment import Segment, Shape
from tagformer.features.store import Bank


class RememberedFeatures:
    """The feature maps of a data set's images, for each view; they are read from the disk when they are asked for.

    Args:
        views: their names.
        digests: the content digest of each row; None where the image cannot be read.
        segments: of each view.
        shapes: (C, h, w) of each map from fine to coarse.
        bad: row -> a sentence on why the image cannot be read.
        banks: where the segments are; they stay in use as long as this object is there.

    Attributes:
        rows: the rows of the data set whose images could be read, in order.
        bad_images: one sentence for each of the others.

    >>> segment = Segment(("digest of a", "digest of b"), (torch.arange(4).half().reshape(2, 2, 1, 1),), 0)
    >>> features = RememberedFeatures(["plain"], ["digest of b", None], [[segment]], [(2, 1, 1)], {1: "b is broken"})
    >>> features.rows, features.maps([0])[0].flatten().tolist()
    ([0], [2.0, 3.0])
    """

    def __init__(
        self,
        views: Sequence[str],
        digests: Sequence[str | None],
        segments: Sequence[Sequence[Segment]],
        shapes: Sequence[Shape],
        bad: Mapping[int, str],
        banks: Sequence[Bank] = (),
    ) -> None:
        self.views, self.shapes, self.bad = tuple(views), tuple(shapes), dict(bad)
        self.rows = [row for row in range(len(digests)) if row not in self.bad]
        self.bad_images = tuple(self.bad[row] for row in sorted(self.bad))
        self._segments = [segment.maps for of_view in segments for segment in of_view]
        self._banks = list(banks)
        self._places = np.full((len(self.views), len(digests), 2), -1, dtype=np.int32)
        first = 0
        for number, of_view in enumerate(segments):
            places = {
                digest: (first + which, position)
                for which, segment in enumerate(of_view)
                for position, digest in enumerate(segment.digests)
            }
            for row in self.rows:
                self._places[number, row] = places[digests[row] or ""]
            first += len(of_view)

    def __len__(self) -> int:
        return len(self.rows)

    def maps(self, rows: Rows, view: int | Tensor = 0) -> tuple[Tensor, ...]:
        """The feature maps of some images, from fine to coarse.

        Args:
            rows: B rows of the data set, each among `rows`.
            view: the number of the view, one for all or int64 (B,).

        Returns:
            float16 (B, C, h, w) for each map.

        Raises:
            ValueError: the image of a row could not be read.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        places = self._places[view if isinstance(view, int) else view.numpy(), chosen]
        if (places < 0).any():
            raise ValueError(f"nothing is remembered of row {chosen[places[:, 0] < 0][0]}")
        out = tuple(torch.empty(len(chosen), *shape, dtype=torch.float16) for shape in self.shapes)
        for number, (segment, position) in enumerate(places.tolist()):
            for array, remembered in zip(out, self._segments[segment], strict=True):
                array[number] = remembered[position]
        return out
