"""Trees of labels: a child that is present makes its parents present, an absent parent makes its children absent."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from tagformer.errors import TagformerError, did_you_mean
from tagformer.files import open_regular
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN, LabelSpace

COLUMNS = ("child", "parent")


class LabelTree:
    """What labels imply of each other. A label may have several parents.

    Args:
        names: of the labels.
        parents: (child, parent) pairs of them.

    Raises:
        TagformerError: an unknown label, or a circle.

    >>> tree = LabelTree(["animal", "dog", "poodle"], [("dog", "animal"), ("poodle", "dog")])
    >>> tree.implied({"poodle": 1}), tree.implied({"animal": 0})
    ({'animal': 1, 'dog': 1}, {'dog': 0, 'poodle': 0})
    """

    def __init__(self, names: Iterable[str], parents: Iterable[tuple[str, str]]) -> None:
        self.names = tuple(names)
        index = {name: number for number, name in enumerate(self.names)}
        above = torch.zeros(len(self.names), len(self.names), dtype=torch.bool)
        for child, parent in parents:
            for name in (child, parent):
                if name not in index:
                    raise TagformerError(
                        f"the tree of labels has '{name}', which is no label{did_you_mean(name, index)}."
                    )
            above[index[child], index[parent]] = True
        # above[i, j]: j is above i. Paths of double the length each time, until none is new.
        while True:
            longer = above | (above.float() @ above.float() > 0)
            if torch.equal(longer, above):
                break
            above = longer
        circle = above.diagonal().nonzero().flatten().tolist()
        if circle:
            names_in_it = ", ".join(f"'{self.names[label]}'" for label in circle)
            raise TagformerError(f"the tree of labels has a circle through {names_in_it}: remove one of its lines.")
        self.above = above

    @classmethod
    def from_csv(cls, path: Path, label_space: LabelSpace) -> LabelTree:
        """A tree from a CSV with the columns ``child,parent``.

        Raises:
            TagformerError: no such file or column, an unknown label (with its line), or a circle.
        """
        pairs = []
        with open_regular(path) as stream:
            text = stream.read().decode("utf-8-sig", errors="strict")
        reader = csv.DictReader(text.splitlines())
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise TagformerError(f"{path} has no column '{missing[0]}': write the header child,parent.")
        known = set(label_space.names)
        for row in reader:
            pair = tuple((row[column] or "").strip() for column in COLUMNS)
            for name in pair:
                if name not in known:
                    hint = did_you_mean(name, known)
                    raise TagformerError(f"{path}, line {reader.line_num}: '{name}' is no label of the model{hint}.")
            pairs.append((pair[0], pair[1]))
        try:
            return cls(label_space.names, pairs)
        except TagformerError as error:
            raise TagformerError(f"{path}: {error}") from error

    @classmethod
    def from_names(cls, label_space: LabelSpace, separator: str = "/") -> LabelTree:
        """A tree from names such as ``animal/dog``, whose parent is ``animal`` where that is a label, too.

        >>> tree = LabelTree.from_names(LabelSpace(("animal", "animal/dog", "sea")))
        >>> tree.implied({"animal/dog": 1})
        {'animal': 1}
        """
        names = set(label_space.names)
        pairs = []
        for name in label_space.names:
            parent = name
            while separator in parent:
                parent = parent.rpartition(separator)[0]
                if parent in names:
                    pairs.append((name, parent))
                    break
        return cls(label_space.names, pairs)

    def __bool__(self) -> bool:
        return bool(self.above.any())

    def implied(self, states: Mapping[str, int]) -> dict[str, int]:
        """The states that follow from some, without these.

        Args:
            states: label -> 1 or 0; names that are not in the tree imply nothing.

        Raises:
            TagformerError: a label is present and one above it absent.
        """
        index = {name: number for number, name in enumerate(self.names)}
        row = torch.full((len(self.names),), UNKNOWN, dtype=torch.int8)
        for name, state in states.items():
            if name in index:
                row[index[name]] = state
        conflict = ((row == PRESENT)[:, None] & self.above & (row == ABSENT)).nonzero()
        if len(conflict):
            child, parent = (self.names[label] for label in conflict[0].tolist())
            raise TagformerError(
                f"'{child}' cannot be present where '{parent}', above it, is absent: change one of them."
            )
        closed = self.close(row)
        added = ((closed != row) & (row == UNKNOWN)).nonzero().flatten().tolist()
        return {self.names[label]: int(closed[label]) for label in added}

    def close(self, labels: Tensor) -> Tensor:
        """Labels with all that they imply; where they contradict each other, present counts.

        Args:
            labels: int8 (..., L).

        Returns:
            The same shape: present above every present label, absent below every absent one.

        >>> tree = LabelTree(["animal", "dog"], [("dog", "animal")])
        >>> tree.close(torch.tensor([[-1, 1], [0, -1], [1, -1]], dtype=torch.int8)).tolist()
        [[1, 1], [0, 0], [1, -1]]
        """
        above = self.above.float()
        present = (labels == PRESENT) | (((labels == PRESENT).float() @ above) > 0)
        absent = ((labels == ABSENT) | (((labels == ABSENT).float() @ above.T) > 0)) & ~present
        closed = torch.where(present, PRESENT, torch.where(absent, ABSENT, labels.long()))
        return closed.to(labels.dtype)
