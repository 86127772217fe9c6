"""Images and labels that a model finds alike, as pictures (MlTr, Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.manifold import TSNE

from tagformer.data.dataset import MultiLabelDataset
from tagformer.images.reading import load_image
from tagformer.images.source import ImageSource
from tagformer.labels.space import PRESENT
from tagformer.report.charts import BLUE, ORANGE, label_map_chart
from tagformer.report.sheets.contact import PLAIN, Line, write_contact_sheet
from tagformer.tagging.similarity import Embedded, co_occurring_pairs, prototypes, similar_pairs

PERPLEXITY = 10.0  # of t-SNE: about so many labels count as a label's neighbours
PAIRS = 10
FEWEST = 4  # labels on a map
SPREAD = 1e-6  # t-SNE divides by it

Row = tuple[Path, Path, list[tuple[ImageSource, str, float]]]  # image, run, and the others: image, id, cosine


def write_similar_sheet(path: Path, rows: Sequence[Row], count: int) -> None:
    """Write a PNG with a row for each image and run: the image, then the `count` most like it."""
    pictures, lines = [], []
    for image, run, near in rows:
        own: list[list[Line]] = [[(image.name, PLAIN), (str(run), PLAIN)]]
        own += [[(f"{cosine:.2f} {name}", PLAIN)] for _, name, cosine in near]
        shown = [load_image(source) for source in (image, *(source for source, _, _ in near))]
        blank = count + 1 - len(shown)
        pictures += [*shown, *(Image.new("RGB", (1, 1), "white") for _ in range(blank))]
        lines += [*own, *([] for _ in range(blank))]
    write_contact_sheet(path, pictures, lines, columns=count + 1)


def label_map(dataset: MultiLabelDataset, found: Embedded) -> str | None:
    """The chart of the labels that some image shows; None for fewer than four, or where all are in one place."""
    labels = dataset.labels[found.rows][:, dataset.label_space.is_target]
    names = [name for name in dataset.label_space.names if name not in dataset.label_space.extra]
    shown = (labels == PRESENT).any(dim=0)
    if int(shown.sum()) < FEWEST:
        return None
    labels, names = labels[:, shown], [name for name, here in zip(names, shown.tolist(), strict=True) if here]
    stands = prototypes(found.features, labels)
    if stands.std(dim=0).max() < SPREAD:
        return None
    perplexity = min(PERPLEXITY, (len(names) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(stands.numpy())
    pairs = [
        ("look alike", BLUE, similar_pairs(stands, min(PAIRS, len(names) // 2))),
        ("go together", ORANGE, co_occurring_pairs(labels, min(PAIRS, len(names) // 2))),
    ]
    return label_map_chart(np.asarray(places), names, pairs)
