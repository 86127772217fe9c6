"""Images and labels that a model finds alike (MlTr, Fig. 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import evaluation_loader, raise_on_bad_images
from tagformer.errors import TagformerError
from tagformer.images.transforms import evaluation_transform, normalise
from tagformer.labels.space import PRESENT
from tagformer.models.base import MultiLabelModel
from tagformer.recipes.settings import ImageSettings


@dataclass(frozen=True)
class Embedded:
    """A data set as a model sees it.

    Attributes:
        features: (N, D), of length 1.
        rows: of each feature the image's row in the data set; images that cannot be read are left out.
    """

    features: Tensor
    rows: list[int]


@torch.inference_mode()
def embed(
    model: MultiLabelModel,
    dataset: MultiLabelDataset,
    image: ImageSettings,
    batch_size: int = 32,
    workers: int = 2,
    on_bad_image: str = "error",
    progress: Callable[[int], None] | None = None,
) -> Embedded:
    """The model's `embed` of every image, scaled to length 1.

    Raises:
        TagformerError: the model does not look at images, or not one of them can be read.
        BadImageError: an image cannot be read, unless `on_bad_image` is "skip".
    """
    if not model.uses_image:
        raise TagformerError("this model does not look at images: it finds none alike.")
    device = next(model.parameters()).device
    features: list[Tensor] = []
    rows: list[int] = []
    for batch in evaluation_loader(dataset, evaluation_transform(image.size, image.resize), batch_size, workers):
        raise_on_bad_images(batch.bad, on_bad_image)
        if len(batch):
            found = model.embed(normalise(batch.images.to(device), *image.statistics(model.backbone)))
            features.append(F.normalize(found.float()).cpu())
            rows += batch.indices
        if progress:
            progress(len(rows))
    if not features:
        raise TagformerError(f"{dataset.name}: not one of its images can be read.")
    return Embedded(torch.cat(features), rows)


def nearest(embedded: Embedded, query: Tensor, count: int) -> list[tuple[int, float]]:
    """The rows of the `count` images most like a feature (D,), the most similar first, with the cosine of the angle."""
    cosines = embedded.features @ F.normalize(query.float(), dim=0)
    values, places = cosines.topk(min(count, len(cosines)))
    return [(embedded.rows[i], value) for i, value in zip(places.tolist(), values.tolist(), strict=True)]


def prototypes(features: Tensor, labels: Tensor) -> Tensor:
    """What stands for each label: the mean feature of the images that show it, of length 1; NaN where none does.

    Args:
        features: (N, D).
        labels: (N, L) in {1, 0, -1}.
    """
    present = (labels == PRESENT).float()
    mean = present.T @ features / present.sum(dim=0).unsqueeze(1)
    return F.normalize(mean, dim=1)


def similar_pairs(found: Tensor, count: int) -> list[tuple[int, int]]:
    """The `count` pairs of labels whose prototypes (L, D) are most alike."""
    return _highest(found @ found.T, count)


def co_occurring_pairs(labels: Tensor, count: int) -> list[tuple[int, int]]:
    """The `count` pairs of labels that most often go together: images with both over images with either.

    Args:
        labels: (N, L) in {1, 0, -1}.
    """
    present = (labels == PRESENT).float()
    both = present.T @ present
    each = both.diagonal()
    return _highest(both / (each[:, None] + each[None, :] - both), count)


def _highest(square: Tensor, count: int) -> list[tuple[int, int]]:
    """The pairs (i < j) with the highest values of (L, L) above 0, without NaN."""
    upper = torch.triu(square.nan_to_num(0.0), diagonal=1)
    values, places = upper.flatten().topk(min(count, upper.numel()))
    side = len(square)
    found = zip(places.tolist(), values.tolist(), strict=True)
    return [(place // side, place % side) for place, value in found if value > 0]
