"""What is in a data set, in figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tagformer.data.images import load_image
from tagformer.data.record import MultiLabelDataset
from tagformer.errors import BadImageError
from tagformer.labels import PRESENT, UNKNOWN


@dataclass(frozen=True)
class Description:
    """
    Attributes:
        images, labels: how many.
        positives: label name -> number of images that have it, most first.
        labels_per_image: mean number of present labels.
        without_labels: images on which no label is present.
        unknown: share of the (image, label) cells that are not annotated.
        bad: one sentence for each image that cannot be read.
        checked: whether the images were read.
    """

    images: int
    labels: int
    positives: dict[str, int]
    labels_per_image: float
    without_labels: int
    unknown: float
    bad: tuple[str, ...]
    checked: bool


def describe(
    dataset: MultiLabelDataset, read_images: bool = True, progress: Callable[[int], None] | None = None
) -> Description:
    """Count a data set.

    Args:
        read_images: read every image, to find the bad ones.
        progress: called with the number of images read so far.
    """
    by_label, by_image = dataset.label_rows.count(PRESENT), dataset.label_rows.count_by_row(PRESENT)
    counts = dict(zip(dataset.label_space.names, by_label.tolist(), strict=True))
    return Description(
        images=len(dataset),
        labels=len(dataset.label_space),
        positives=dict(sorted(counts.items(), key=lambda item: -item[1])),
        labels_per_image=by_image.sum().item() / max(1, len(dataset)),
        without_labels=int((by_image == 0).sum()),
        unknown=dataset.label_rows.count(UNKNOWN).sum().item() / max(1, math.prod(dataset.label_rows.shape)),
        bad=tuple(_problems(dataset, progress)) if read_images else (),
        checked=read_images,
    )


def _problems(dataset: MultiLabelDataset, progress: Callable[[int], None] | None) -> list[str]:
    def problem(index: int) -> str | None:
        try:
            load_image(dataset.images[index])
        except BadImageError as error:
            return str(error)
        return None

    problems = []
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter's lock
        for done, found in enumerate(pool.map(problem, range(len(dataset))), start=1):
            if found:
                problems.append(found)
            if progress:
                progress(done)
    return problems
