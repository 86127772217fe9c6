"""The data sets of the league, and the task that every entry gets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.load import load_dataset, with_labels_of
from tagformer.errors import TagformerError, did_you_mean
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN

NETWORK, WEIGHTS, MEAN, STD = "tf_efficientnet_lite2", "tf_efficientnet_lite2.imagenet.safetensors", 0.5, 0.5


@dataclass(frozen=True)
class League:
    """A data set of the league.

    Attributes:
        title: its heading in the table.
        address: ``format:folder`` below the folder of the data.
        size: pixels per side, for every entry.
        minutes: the time of an entry where none is given.
        positives: test images that a label must have to count in the figures.
    """

    title: str
    address: str
    size: int
    minutes: float
    positives: int = 1

    @property
    def spec(self) -> str:
        """The data as ``format:path``."""
        format_, _, folder = self.address.partition(":")
        return f"{format_}:{shared_folder() / 'data' / folder}"


SETS: Mapping[str, League] = {
    "photo": League("Photo set (VOC 2012, animals)", "voc2012:voc2012-animals", 224, 6, positives=10),
    "corel5k": League("Corel5K", "csv:corel5k", 192, 5),
    "cub50": League("CUB, 50 classes, 112 concepts", "cub:cub50?targets=concepts", 192, 4),
    "scenes1500": League("Scenes", "csv:scenes1500", 224, 3),
    "coco256": League("COCO, 128 training images", "coco:coco256", 224, 2),
}


def shared_folder() -> Path:
    """The folder of the data and the weights: TAGFORMER_SHARED, or ../shared."""
    return Path(os.environ.get("TAGFORMER_SHARED", "../shared")).resolve()


def get_set(name: str) -> League:
    """The data set of this name.

    Raises:
        TagformerError: there is none.
    """
    if name not in SETS:
        raise TagformerError(f"unknown set '{name}'{did_you_mean(name, SETS)}: use {', '.join(SETS)}.")
    return SETS[name]


@dataclass(frozen=True)
class Data:
    """The two splits of a set, with the same labels in the same order.

    Attributes:
        train, test: the splits.
        scored: bool (L,), the labels that count in the figures.
    """

    train: MultiLabelDataset
    test: MultiLabelDataset
    scored: Tensor


def load_data(name: str) -> Data:
    """Load a set.

    Raises:
        TagformerError: no data, or labels that are unknown, which the rivals have no way to leave out.
    """
    chosen = get_set(name)
    train = load_dataset(chosen.spec, "train")
    test = with_labels_of(train, load_dataset(chosen.spec, "test"), f"{chosen.spec}: the test split")
    if (train.labels == UNKNOWN).any():
        raise TagformerError(f"{name}: some training labels are unknown, which the rivals cannot leave out.")
    return Data(train, test, scored_labels(test.labels, chosen.positives))


def scored_labels(labels: Tensor, positives: int = 1) -> Tensor:
    """bool (L,): which labels of a test split (N, L) have at least so many positives, and a negative."""
    return ((labels == PRESENT).sum(0) >= positives) & (labels == ABSENT).any(0)


def task_content(name: str, data: Data) -> dict[str, Any]:
    """The part of a task that is the same for all entries, seeds and times; see `entries.exchange.Task`."""
    chosen, train, test = get_set(name), data.train, data.test
    weights = shared_folder() / "weights" / WEIGHTS
    if not weights.is_file():
        raise TagformerError(f"{weights} does not exist: set TAGFORMER_SHARED to the folder of the data and weights.")
    return {
        "set": name,
        "spec": chosen.spec,
        "names": list(train.label_space.names),
        "train_ids": list(train.ids),
        "train_paths": [str(image) for image in train.images],
        "train_labels": [torch.nonzero(row == PRESENT).flatten().tolist() for row in train.labels],
        "test_ids": list(test.ids),
        "test_paths": [str(image) for image in test.images],
        "size": chosen.size,
        "network": NETWORK,
        "weights": str(weights),
        "mean": MEAN,
        "std": STD,
    }
