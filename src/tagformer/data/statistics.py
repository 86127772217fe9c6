"""What is in a data set, in figures and warnings; no image is opened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tagformer.data.dataset import MultiLabelDataset
from tagformer.labels.space import PRESENT, UNKNOWN

NAMED = 5  # labels that a warning names


@dataclass(frozen=True)
class Description:
    """
    Attributes:
        images, labels: how many.
        positives: label name -> number of images that have it, most first.
        labels_per_image: mean number of present labels.
        without_labels: images on which no label is present.
        unknown: share of the (image, label) cells that are not annotated.
    """

    images: int
    labels: int
    positives: dict[str, int]
    labels_per_image: float
    without_labels: int
    unknown: float


def describe(dataset: MultiLabelDataset) -> Description:
    """Count a data set."""
    by_label, by_image = dataset.label_rows.count(PRESENT), dataset.label_rows.count_by_row(PRESENT)
    counts = dict(zip(dataset.label_space.names, by_label.tolist(), strict=True))
    cells = max(1, math.prod(dataset.label_rows.shape))
    return Description(
        images=len(dataset),
        labels=len(dataset.label_space),
        positives=dict(sorted(counts.items(), key=lambda item: -item[1])),
        labels_per_image=by_image.sum().item() / max(1, len(dataset)),
        without_labels=int((by_image == 0).sum()),
        unknown=dataset.label_rows.count(UNKNOWN).sum().item() / cells,
    )


def label_warnings(splits: Mapping[str, MultiLabelDataset]) -> list[str]:
    """What is odd about the labels of a data set's splits, a sentence each."""
    found = []
    for split, dataset in splits.items():
        described = describe(dataset)
        never = [name for name, count in described.positives.items() if count == 0]
        if never:
            found.append(f"{split}: {_labels(never)} never positive: {_some(never)}")
        always = [name for name, count in described.positives.items() if count == described.images]
        if always and described.images > 1:
            found.append(f"{split}: {_labels(always)} on every image: {_some(always)}")
        if described.without_labels == described.images:
            found.append(f"{split}: no image has a label")
    return found


def _labels(names: Sequence[str]) -> str:
    return "1 label is" if len(names) == 1 else f"{len(names)} labels are"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
