"""Figures of a data set's labels, and warnings about them. No image is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tagformer.data.dataset import MultiLabelDataset
from tagformer.labels.space import PRESENT, UNKNOWN

NAMED = 5  # the number of labels that a warning lists


@dataclass(frozen=True)
class Description:
    """The figures of a data set.

    Attributes:
        images, labels: the numbers of images and labels.
        positives: label name -> number of images on which it is present, in decreasing order.
        labels_per_image: mean number of present labels.
        without_labels: the number of images on which no label is present.
        unknown: share of the (image, label) cells that are not annotated.
    """

    images: int
    labels: int
    positives: dict[str, int]
    labels_per_image: float
    without_labels: int
    unknown: float


def describe(dataset: MultiLabelDataset) -> Description:
    """Count the images and labels of a data set."""
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


def warning_line(sentence: str) -> str:
    """The line that a command prints for a warning, which ends with a full stop.

    >>> warning_line("train: 1 label is never positive: dog")
    'Warning: train: 1 label is never positive: dog.'
    """
    return f"Warning: {sentence}" + ("" if sentence.endswith(".") else ".")


def format_warnings(splits: Mapping[str, MultiLabelDataset]) -> list[str]:
    """The sentences that the format has about the files of a data set, each once."""
    return list(dict.fromkeys(warning for dataset in splits.values() for warning in dataset.warnings))


def label_warnings(splits: Mapping[str, MultiLabelDataset]) -> list[str]:
    """One sentence for each likely mistake in the labels of a data set's splits.

    Args:
        splits: the data set's splits by name.
    """
    warnings = []
    for split, dataset in splits.items():
        described = describe(dataset)
        never = [name for name, count in described.positives.items() if count == 0]
        if never:
            warnings.append(f"{split}: {_labels_are(never)} never positive: {_listed(never)}")
        always = [name for name, count in described.positives.items() if count == described.images]
        if always and described.images > 1:
            warnings.append(f"{split}: {_labels_are(always)} on every image: {_listed(always)}")
        if described.images and described.without_labels == described.images:
            warnings.append(f"{split}: no image has a label")
    return warnings


def _labels_are(names: Sequence[str]) -> str:
    return "1 label is" if len(names) == 1 else f"{len(names)} labels are"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
