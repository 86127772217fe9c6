"""The data set that every format is read into, and its records: an image, its labels, its id, and its objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tagformer.data.columns import Rows, take
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError
from tagformer.images.source import ImageSource
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN, LabelSpace

# The size of the largest object of a label in an image, by COCO's areas: < 32^2 pixels small, < 96^2 medium.
NO_SIZE, SMALL, MEDIUM, LARGE = 0, 1, 2, 3
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Box:
    """The box of one object.

    Attributes:
        label: name of the object's label.
        corners: (left, top, right, bottom) as fractions of the image's width and height.

    >>> from tagformer.data import Box
    >>> Box("dog", (0.0, 0.25, 0.5, 1.0)).label
    'dog'
    """

    label: str
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class Record:
    """One image with its labels.

    Attributes:
        image: a path, an object with ``render() -> PIL.Image``, or an object with ``read() -> bytes``.
        labels: int8 (L,), 1 present, 0 absent, -1 unknown.
        id: unique within the data set; draws of known labels depend on it.
        sizes: int8 (L,), the size of each label's largest object: 0 none, 1 small, 2 medium, 3 large. None where the
            format has no sizes.
        boxes: the boxes of the objects; None where the format has none.

    >>> from pathlib import Path
    >>> import torch
    >>> from tagformer.data import Record
    >>> Record(Path("a.jpg"), torch.tensor([1, 0, -1], dtype=torch.int8), id="a").sizes is None
    True
    """

    image: ImageSource
    labels: Tensor
    id: str
    sizes: Tensor | None = None
    boxes: tuple[Box, ...] | None = None


class MultiLabelDataset:
    """A sequence of N records with the same L labels, stored as columns.

    Args:
        name: the data set's name in messages.
        label_space: the names of the L labels.
        images: N image sources.
        labels: int8 (N, L).
        ids: N unique ids.
        sizes: int8 (N, L), or None.
        boxes: N tuples of boxes, or None.
        origins: where each record is written ("my.csv, line 7"), for messages; None where that has no meaning.
        exhaustive: the state of a label that the data set never mentions. True: absent, as in a column of tags that
            lists all present labels. False: unknown, as in COCO or a table with one column per label.
        left_out: one sentence for each image that was left out because its file does not exist.
        warnings: what may be a mistake in the data or was left out of it, one sentence each.

    Attributes:
        label_rows, size_rows: the labels and sizes as stored; index them to get some rows.

    Raises:
        ValueError: the columns have different lengths, or the labels are not int8.

    >>> from pathlib import Path
    >>> import torch
    >>> from tagformer.data import MultiLabelDataset
    >>> from tagformer.labels import LabelSpace
    >>> labels = torch.tensor([[1, 0], [0, -1]], dtype=torch.int8)
    >>> dataset = MultiLabelDataset(
    ...     "pets", LabelSpace(("cat", "dog")), [Path("a.jpg"), Path("b.jpg")], labels, ids=["a", "b"]
    ... )
    >>> dataset[1].id, dataset[1].labels
    ('b', tensor([ 0, -1], dtype=torch.int8))
    >>> dataset.align_to(LabelSpace(("dog", "cow"))).labels.tolist()
    [[0, -1], [-1, -1]]
    """

    def __init__(
        self,
        name: str,
        label_space: LabelSpace,
        images: Sequence[ImageSource],
        labels: Tensor | SparseRows,
        ids: Sequence[str],
        sizes: Tensor | SparseRows | None = None,
        boxes: Sequence[tuple[Box, ...]] | None = None,
        origins: Sequence[str] | None = None,
        exhaustive: bool = False,
        left_out: tuple[str, ...] = (),
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.name, self.label_space, self.images, self.ids = name, label_space, images, ids
        self.label_rows = _sparse(labels, len(images), len(label_space), "labels")
        self.size_rows = None if sizes is None else _sparse(sizes, len(images), len(label_space), "sizes")
        self.boxes, self.origins, self.exhaustive = boxes, origins, exhaustive
        self.left_out, self.warnings = left_out, warnings
        if len(ids) != len(images):
            raise ValueError(f"{len(ids)} ids for {len(images)} images")

    @property
    def labels(self) -> Tensor:
        """int8 (N, L), a new dense tensor. For a large data set index `label_rows` instead."""
        return self.label_rows.dense()

    @property
    def sizes(self) -> Tensor | None:
        """int8 (N, L), a new dense tensor; None where the format has no sizes."""
        return None if self.size_rows is None else self.size_rows.dense()

    @property
    def frequencies(self) -> Tensor:
        """float32 (L,): the share of present labels among the images on which the label is annotated.

        Half an image is added to both states, so no share is 0 or 1; it is 1/2 where nothing is annotated.
        """
        present, absent = self.label_rows.count(PRESENT), self.label_rows.count(ABSENT)
        return (present + 0.5) / (present + absent + 1)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Record:
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return Record(
            self.images[index],
            self.label_rows[index],
            self.ids[index],
            None if self.size_rows is None else self.size_rows[index],
            None if self.boxes is None else self.boxes[index],
        )

    def replace(self, **changes: Any) -> MultiLabelDataset:
        """A copy of the data set with other values for some of the constructor's arguments."""
        names = ("name", "label_space", "images", "ids", "boxes", "origins", "exhaustive", "left_out", "warnings")
        arguments = {name: getattr(self, name) for name in names}
        return MultiLabelDataset(**{**arguments, "labels": self.label_rows, "sizes": self.size_rows, **changes})

    def subset(self, rows: Rows) -> MultiLabelDataset:
        """The records at `rows`, in that order."""
        return self.replace(
            images=take(self.images, rows),
            labels=self.label_rows.take(rows),
            ids=take(self.ids, rows),
            sizes=None if self.size_rows is None else self.size_rows.take(rows),
            boxes=None if self.boxes is None else take(self.boxes, rows),
            origins=None if self.origins is None else take(self.origins, rows),
        )

    def sample_evenly(self, count: int) -> MultiLabelDataset:
        """At most `count` records, at equal distances over the whole data set, in their order."""
        count = min(count, len(self))
        return self.subset([number * len(self) // count for number in range(count)])

    def align_to(self, label_space: LabelSpace) -> MultiLabelDataset:
        """The same images with the labels of another label space, matched by name.

        Labels that only this data set has are dropped. Labels that only `label_space` has are absent where the data
        set is exhaustive and the image has any annotation, and unknown otherwise.

        Raises:
            TagformerError: the two label spaces have no name in common.
        """
        if label_space == self.label_space:
            return self
        column_of = {name: column for column, name in enumerate(self.label_space.names)}
        shared = [(column, column_of[name]) for column, name in enumerate(label_space.names) if name in column_of]
        if not shared:
            raise TagformerError(
                f"{self.name} has none of the model's labels (its first is '{self.label_space.names[0]}', the model's "
                f"'{label_space.names[0]}'): evaluate on data with the labels that the model was trained on."
            )
        targets, sources = [target for target, _ in shared], [source for _, source in shared]
        missing = ABSENT if self.exhaustive else UNKNOWN

        def moved(block: Tensor, default: int) -> Tensor:
            aligned = torch.full((len(block), len(label_space)), default, dtype=torch.int8)
            aligned[:, targets] = block[:, sources]
            return aligned

        labels = []
        for block in self.label_rows.blocks():
            annotated = (block != UNKNOWN).any(dim=1, keepdim=True)
            labels.append(SparseRows.from_dense(moved(block, missing).where(annotated, UNKNOWN)))
        sizes = None
        if self.size_rows is not None:
            sizes = [SparseRows.from_dense(moved(block, NO_SIZE)) for block in self.size_rows.blocks()]
        return self.replace(
            label_space=label_space,
            labels=SparseRows.concatenated(labels),
            sizes=sizes and SparseRows.concatenated(sizes),
        )


def _sparse(values: Tensor | SparseRows, rows: int, columns: int, what: str) -> SparseRows:
    if isinstance(values, Tensor) and values.dtype != torch.int8:
        raise ValueError(f"{what} must be int8, not {values.dtype}")
    if tuple(values.shape) != (rows, columns):
        raise ValueError(f"{what} must be of shape {(rows, columns)}, not {tuple(values.shape)}")
    return values if isinstance(values, SparseRows) else SparseRows.from_dense(values)
