"""Choosing between image sizes on a sample of the training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from tagformer.backbones.base import Backbone
from tagformer.data.dataset import MultiLabelDataset
from tagformer.features.remember import Bars, remember_features
from tagformer.features.store import FeatureStore
from tagformer.images.preprocessing import Preprocessing
from tagformer.labels.space import PRESENT
from tagformer.runs.run import default_device
from tagformer.training.stages.folds import draw_folds
from tagformer.training.stages.heads import HeadSetting, HeadTraining, fit_heads, out_of_fold
from tagformer.training.stages.heldout import cross_validated

LEAST, MOST = 500, 1500  # images of the sample
POSITIVES = 15  # of a label in the sample, on average
FOLDS = 4
GAIN = 0.01  # of the mAP, by which a larger image must be better, since it costs time in every use
SETTING = HeadSetting(weight=0.0, decay=0.05)


def sample_size(labels: Tensor) -> int:
    """The number of images by which sizes can be compared: more where labels are rare.

    Args:
        labels: int8 (N, L).

    >>> import torch
    >>> sample_size(torch.eye(1000, dtype=torch.int8))  # a thousand labels, one of them in each image
    1500
    >>> sample_size(torch.ones(1000, 20, dtype=torch.int8))
    500
    """
    per_image = (labels == PRESENT).sum(1).float().mean().clamp(min=1e-6).item()
    return round(min(MOST, max(LEAST, POSITIVES * labels.shape[1] / per_image)))


def choose_size(
    backbone: Backbone,
    dataset: MultiLabelDataset,
    preprocessing: Callable[[int], Preprocessing],
    sizes: Sequence[int],
    store: FeatureStore,
    *,
    workers: int = 2,
    on_bad_image: str = "error",
    bars: Bars,
) -> tuple[int, dict[int, float]]:
    """The image size whose heads are best in cross-validation on a sample, see `sample_size`.

    Args:
        backbone: not changed.
        dataset: the training images.
        preprocessing: from a size to how an image becomes the network's input.
        sizes: in pixels, from small to large; a larger one must be better by a point of mAP.
        store: where the features of the sample are remembered.
        workers, on_bad_image, bars: as of `remember_features`.

    Returns:
        The size, and the cross-validated mAP of each.
    """
    sample = dataset.sample_evenly(sample_size(dataset.labels))
    folds, labels = draw_folds(sample, FOLDS), sample.labels
    figures: dict[int, float] = {}
    best = sizes[0]
    for size in sizes:
        features = remember_features(
            backbone,
            sample,
            preprocessing(size),
            store=store,
            workers=workers,
            on_bad_image=on_bad_image,
            device=default_device(),
            bars=bars,
        )
        rows = features.rows
        heads = fit_heads(features, labels, folds, [SETTING], HeadTraining(min_steps=200))
        figures[size] = cross_validated(out_of_fold(heads, features)[0, rows], labels[rows], folds[rows])
        if figures[size] > figures[best] + GAIN:
            best = size
    return best, figures
