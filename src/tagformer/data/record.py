"""One record type for every format: an image, its labels, its id, and object sizes where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from tagformer.errors import TagformerError
from tagformer.labels import ABSENT, UNKNOWN, LabelSpace

# The size of an (image, label) pair's largest instance, as COCO's areas: < 32^2 small, < 96^2 medium.
NO_SIZE, SMALL, MEDIUM, LARGE = 0, 1, 2, 3


class Rendered(Protocol):
    """An image that is drawn when asked for, instead of read from a file."""

    def render(self) -> Image.Image: ...


ImageSource = Path | Rendered


@dataclass(frozen=True)
class Box:
    """One object: its label's name and its box (left, top, right, bottom) as fractions of the width and height."""

    label: str
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class Record:
    """One image and what is known of it.

    Attributes:
        image: a path, or something with ``render() -> PIL.Image``.
        labels: int8 (L,), 1 present, 0 absent, -1 unknown.
        id: unique within the data set; draws of known labels depend on it.
        sizes: int8 (L,), 0 none, 1 small, 2 medium, 3 large; None where the format has no sizes.
        boxes: the objects; None where the format has none.
    """

    image: ImageSource
    labels: Tensor
    id: str
    sizes: Tensor | None = None
    boxes: tuple[Box, ...] | None = None


@dataclass(frozen=True)
class MultiLabelDataset:
    """A list of records with one label space, held as columns.

    Attributes:
        name: what it is called in messages.
        label_space: the names of the L columns.
        images: N image sources.
        labels: int8 (N, L).
        ids: N unique ids.
        sizes: int8 (N, L) or None.
        boxes: N tuples of boxes, or None.
        origins: for each record where it was written, for messages ("my.csv, line 7"); None where that has no meaning.
        exhaustive: True where a label that the data set never mentions is absent (a column of tags), False where
            nothing is known of it (one column a label, COCO).
        left_out: one sentence for each image that was left out because its file does not exist.
    """

    name: str
    label_space: LabelSpace
    images: Sequence[ImageSource]
    labels: Tensor
    ids: Sequence[str]
    sizes: Tensor | None = None
    boxes: Sequence[tuple[Box, ...]] | None = None
    origins: Sequence[str] | None = None
    exhaustive: bool = False
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.images), len(self.label_space))
        if tuple(self.labels.shape) != shape or self.labels.dtype != torch.int8:
            raise ValueError(f"labels must be int8 {shape}, not {self.labels.dtype} {tuple(self.labels.shape)}")
        if len(self.ids) != len(self.images):
            raise ValueError(f"{len(self.ids)} ids for {len(self.images)} images")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Record:
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return Record(
            self.images[index],
            self.labels[index],
            self.ids[index],
            None if self.sizes is None else self.sizes[index],
            None if self.boxes is None else self.boxes[index],
        )

    def subset(self, indices: Sequence[int]) -> MultiLabelDataset:
        """The records at `indices`, in that order."""
        rows = torch.as_tensor(indices, dtype=torch.long)
        return replace(
            self,
            images=[self.images[i] for i in indices],
            labels=self.labels[rows],
            ids=[self.ids[i] for i in indices],
            sizes=None if self.sizes is None else self.sizes[rows],
            boxes=None if self.boxes is None else [self.boxes[i] for i in indices],
            origins=None if self.origins is None else [self.origins[i] for i in indices],
        )

    def aligned(self, label_space: LabelSpace) -> MultiLabelDataset:
        """The same images with the columns of another label space, matched by name, never by position.

        Labels that only this data set has are dropped. Labels that only `label_space` has become absent where the
        data set is exhaustive and the image was annotated at all, unknown otherwise.

        Raises:
            TagformerError: not one name in common.
        """
        if label_space == self.label_space:
            return self
        own = {name: column for column, name in enumerate(self.label_space.names)}
        shared = [(column, own[name]) for column, name in enumerate(label_space.names) if name in own]
        if not shared:
            raise TagformerError(
                f"{self.name} has none of the model's labels (its first is '{self.label_space.names[0]}', the model's "
                f"'{label_space.names[0]}'): evaluate on data with the labels that the model was trained on."
            )
        columns, sources = (list(part) for part in zip(*shared, strict=True))
        rest = ABSENT if self.exhaustive else UNKNOWN
        labels = torch.full((len(self), len(label_space)), rest, dtype=torch.int8)
        labels[:, columns] = self.labels[:, sources]
        labels[(self.labels == UNKNOWN).all(dim=1)] = UNKNOWN
        sizes = None
        if self.sizes is not None:
            sizes = torch.full_like(labels, NO_SIZE)
            sizes[:, columns] = self.sizes[:, sources]
        return replace(self, label_space=label_space, labels=labels, sizes=sizes)
