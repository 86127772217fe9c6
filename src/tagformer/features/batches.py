"""Batches of remembered feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import ImageItems
from tagformer.data.loader.sampler import derive_seed
from tagformer.features.remembered import RememberedFeatures


@dataclass(frozen=True)
class MapBatch:
    """A batch of B images whose feature maps are remembered.

    Attributes:
        maps: float16 (B, C, h, w) for each map from fine to coarse.
        labels: int8 (B, L).
        ids: B ids.
        indices: B positions in the data set.
        bad: one sentence for each image that could not be read; such images are not among the B.

    >>> maps, labels = (torch.zeros(1, 8, 4, 4, dtype=torch.float16),), torch.zeros(1, 2, dtype=torch.int8)
    >>> len(MapBatch(maps, labels, ids=["a"], indices=[0], bad=[]).to("cpu"))
    1
    """

    maps: tuple[Tensor, ...]
    labels: Tensor
    ids: list[str]
    indices: list[int]
    bad: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, **options: Any) -> MapBatch:
        """The batch with its tensors on `device`."""
        maps = tuple(array.to(device, **options) for array in self.maps)
        return replace(self, maps=maps, labels=self.labels.to(device, **options))


class RememberedItems(ImageItems):
    """The items of `ImageLoader` and `TrainingLoader`, with remembered maps in the place of images.

    Args:
        dataset: the images and their labels.
        remembered: of the same data set.
        seed: of the choice of a view for each image and epoch; None: always the first view.

    >>> from pathlib import Path
    >>> import tagformer
    >>> from tagformer.backbones import create_backbone
    >>> from tagformer.data.loader import ImageLoader
    >>> from tagformer.features import FeatureStore, RememberedItems, remember_features
    >>> from tagformer.images import Preprocessing
    >>> dataset, store = tagformer.load_dataset("scenes?images=6"), FeatureStore(Path("cache"))
    >>> remembered = remember_features(create_backbone("tiny"), dataset, Preprocessing(size=32), store=store, workers=0)
    >>> batch = next(iter(ImageLoader(RememberedItems(dataset, remembered), [[2, 0]], batch_size=2, workers=0)))
    >>> batch.maps[0].shape, batch.labels.shape, batch.indices
    (torch.Size([2, 128, 4, 4]), torch.Size([2, 14]), [2, 0])
    """

    def __init__(self, dataset: MultiLabelDataset, remembered: RememberedFeatures, seed: int | None = None) -> None:
        super().__init__(dataset, transform=None, seed=seed or 0)
        self.remembered = remembered
        self.draws_views = seed is not None and len(remembered.views) > 1

    def __getitem__(self, key: Any) -> Any:
        """The key itself, its index or (epoch, index): the maps of a batch are read together."""
        return key

    def collate(self, items: list[Any]) -> Any:
        """Make a `MapBatch` of keys; bad images are left out of it and named."""
        keys = [key if isinstance(key, tuple) else (0, key) for key in items]
        bad = self.remembered.bad
        good = [(epoch, index) for epoch, index in keys if index not in bad]
        indices = [index for _, index in good]
        return MapBatch(
            maps=self.remembered.maps(indices, self._views(good) if self.draws_views else 0),
            labels=self.dataset.label_rows[indices],
            ids=[self.dataset.ids[index] for index in indices],
            indices=indices,
            bad=[bad[index] for _, index in keys if index in bad],
        )

    def _views(self, keys: Sequence[tuple[int, int]]) -> Tensor:
        """The view of each image in its epoch, int64 (B,): it depends on the seed, the epoch and the image alone."""
        count, ids = len(self.remembered.views), self.dataset.ids
        draws = [derive_seed(self.seed, "view", epoch, ids[index]) % count for epoch, index in keys]
        return torch.from_numpy(np.array(draws, dtype=np.int64))
