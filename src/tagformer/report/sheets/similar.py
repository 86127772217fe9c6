"""A sheet of similar images, and a map of similar labels (MlTr, Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.manifold import TSNE

from tagformer.data.dataset import MultiLabelDataset
from tagformer.images.reading import load_image
from tagformer.images.source import ImageSource
from tagformer.labels.space import PRESENT
from tagformer.report.charts import BLUE, ORANGE, label_map_chart
from tagformer.report.sheets.contact import PLAIN, Line, write_contact_sheet
from tagformer.tagging.similarity import Embedded, co_occurring_pairs, prototypes, similar_pairs

PERPLEXITY = 10.0  # of t-SNE: about the number of neighbours that a label's place depends on
PAIRS = 10  # connected pairs of each kind
FEWEST = 4  # labels on a map
SPREAD = 1e-6  # t-SNE divides by the standard deviation

Row = tuple[
    Path, Path, list[tuple[ImageSource, str, float]]
]  # image, run, and for each similar image: image, id, cosine


def write_similar_sheet(path: Path, rows: Sequence[Row], count: int) -> None:
    """Write a PNG with a row for each image and run: the image, then the `count` most similar ones."""
    pictures, lines = [], []
    for image, run, near in rows:
        captions: list[list[Line]] = [[(image.name, PLAIN), (str(run), PLAIN)]]
        captions += [[(f"{cosine:.2f} {name}", PLAIN)] for _, name, cosine in near]
        shown = [load_image(source) for source in (image, *(source for source, _, _ in near))]
        blank = count + 1 - len(shown)
        pictures += [*shown, *(Image.new("RGB", (1, 1), "white") for _ in range(blank))]
        lines += [*captions, *([] for _ in range(blank))]
    write_contact_sheet(path, pictures, lines, columns=count + 1)


def label_map(dataset: MultiLabelDataset, embedded: Embedded) -> str | None:
    """The chart of the labels that are present on some image, placed by t-SNE of their prototypes.

    Returns:
        The SVG text; None for fewer than four labels, or where all prototypes are equal.
    """
    labels = dataset.labels[embedded.rows][:, dataset.label_space.is_target]
    names = [name for name in dataset.label_space.names if name not in dataset.label_space.extra]
    occurs = (labels == PRESENT).any(dim=0)
    if int(occurs.sum()) < FEWEST:
        return None
    labels, names = labels[:, occurs], [names[column] for column in torch.nonzero(occurs).flatten().tolist()]
    vectors = prototypes(embedded.features, labels)
    if vectors.std(dim=0).max() < SPREAD:
        return None
    perplexity = min(PERPLEXITY, (len(names) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors.numpy())
    pairs = [
        ("look alike", BLUE, similar_pairs(vectors, min(PAIRS, len(names) // 2))),
        ("occur together", ORANGE, co_occurring_pairs(labels, min(PAIRS, len(names) // 2))),
    ]
    return label_map_chart(np.asarray(places), names, pairs)
