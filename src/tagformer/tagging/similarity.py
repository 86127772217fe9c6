"""Images and labels whose features are similar (MlTr, Fig. 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.features.encoding import encoded_batches
from tagformer.features.store import FeatureStore
from tagformer.images.preprocessing import Preprocessing
from tagformer.labels.space import PRESENT
from tagformer.models.base import MultiLabelModel


@dataclass(frozen=True)
class Embedded:
    """One feature per image of a data set, to compare images by.

    Attributes:
        features: (N, D), of length 1.
        rows: each feature's row in the data set; images that cannot be read are left out.
    """

    features: Tensor
    rows: list[int]


@torch.inference_mode()
def embed(
    model: MultiLabelModel,
    dataset: MultiLabelDataset,
    preprocessing: Preprocessing,
    batch_size: int = 32,
    workers: int = 2,
    on_bad_image: str = "error",
    progress: Callable[[int], None] | None = None,
    store: FeatureStore | None = None,
) -> Embedded:
    """The model's `embed` of every image, scaled to length 1.

    Args:
        model: on the device to use.
        dataset: the images.
        preprocessing: how an image becomes the model's input.
        batch_size: images per batch.
        workers: loader processes.
        on_bad_image: ``error`` or ``skip``.
        progress: called with the number of images done.
        store: where the maps of the backbone are remembered; None: each image is read and encoded.

    Raises:
        TagformerError: the model does not use images, or none of them can be read.
        BadImageError: an image cannot be read, and `on_bad_image` is ``error``.

    >>> import tagformer
    >>> from tagformer.images import Preprocessing
    >>> from tagformer.tagging import embed
    >>> dataset = tagformer.load_dataset("scenes?images=24", split="test")
    >>> model = tagformer.create_model("linear", dataset.label_space, "tiny").eval()
    >>> embed(model, dataset, Preprocessing(size=32), workers=0).features.shape
    torch.Size([4, 128])
    """
    if not model.uses_image:
        raise TagformerError("this model does not use images: it cannot compare them.")
    features: list[Tensor] = []
    rows: list[int] = []
    batches = encoded_batches(
        model,
        dataset,
        preprocessing,
        store,
        embed=True,
        batch_size=batch_size,
        workers=workers,
        on_bad_image=on_bad_image,
        progress=progress,
    )
    for batch, embedded in batches:
        if embedded is not None:
            features.append(F.normalize(embedded.float()).cpu())
            rows += batch.indices
        if progress:
            progress(len(rows))
    if not features:
        raise TagformerError(f"{dataset.name}: not one of its images can be read.")
    return Embedded(torch.cat(features), rows)


def nearest(embedded: Embedded, query: Tensor, count: int) -> list[tuple[int, float]]:
    """The `count` images most similar to a feature (D,), the most similar first: (row, cosine of the angle)."""
    cosines = embedded.features @ F.normalize(query.float(), dim=0)
    values, places = cosines.topk(min(count, len(cosines)))
    return [(embedded.rows[i], value) for i, value in zip(places.tolist(), values.tolist(), strict=True)]


def prototypes(features: Tensor, labels: Tensor) -> Tensor:
    """A prototype (L, D) of each label: the mean feature of its images, scaled to length 1; NaN without images.

    Args:
        features: (N, D).
        labels: (N, L) in {1, 0, -1}.
    """
    present = (labels == PRESENT).float()
    mean = present.T @ features / present.sum(dim=0).unsqueeze(1)
    return F.normalize(mean, dim=1)


def similar_pairs(label_prototypes: Tensor, count: int) -> list[tuple[int, int]]:
    """The `count` pairs of labels whose prototypes (L, D) are most similar."""
    return _highest(label_prototypes @ label_prototypes.T, count)


def co_occurring_pairs(labels: Tensor, count: int) -> list[tuple[int, int]]:
    """The `count` pairs of labels that most often occur together: images with both over images with either.

    Args:
        labels: (N, L) in {1, 0, -1}.
    """
    present = (labels == PRESENT).float()
    both = present.T @ present
    counts = both.diagonal()
    return _highest(both / (counts[:, None] + counts[None, :] - both), count)


def _highest(square: Tensor, count: int) -> list[tuple[int, int]]:
    """The pairs (i < j) with the highest values of (L, L) above 0, without NaN."""
    upper = torch.triu(square.nan_to_num(0.0), diagonal=1)
    values, places = upper.flatten().topk(min(count, upper.numel()))
    side = len(square)
    highest = zip(places.tolist(), values.tolist(), strict=True)
    return [divmod(place, side) for place, value in highest if value > 0]
