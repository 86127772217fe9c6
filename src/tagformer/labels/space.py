"""The three states of a label, present, absent and unknown, and the names of the labels.

An int8 tensor of shape (B, L) holds these states everywhere: the annotations, the known labels that a model takes as
input, the targets of a loss and those of a metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tagformer.errors import TagformerError, did_you_mean
from tagformer.labels.names import plain_name

PRESENT, ABSENT, UNKNOWN = 1, 0, -1


@dataclass(frozen=True)
class LabelSpace:
    """The names of the labels, in the order of the columns.

    Args:
        names: one unique name per label, stored as `plain_name` spells it, as are those of the groups and of `extra`.
        groups: group name -> names of its labels (for example the 28 concept groups of CUB). A label is in at most
            one group.
        extra: names of the labels that are an input only: a model can be given them as known, but they are never
            predicted or scored (C-Tran's "extra labels"). All other labels are targets.

    Raises:
        TagformerError: no names, an empty or duplicate name, a group or extra label that is not among the names, a
            label in two groups, or no target.

    >>> from tagformer.labels import LabelSpace
    >>> space = LabelSpace(("cat", "dog", "night"), extra=("night",))
    >>> len(space), space.index("dog")
    (3, 1)
    >>> space.known({"dog": True, "night": False})
    tensor([-1,  1,  0], dtype=torch.int8)
    """

    names: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(_plain, self.names)))
        object.__setattr__(self, "extra", tuple(map(_plain, self.extra)))
        groups = {group: tuple(map(_plain, members)) for group, members in self.groups.items()}
        object.__setattr__(self, "groups", groups)
        if not self.names:
            raise TagformerError("no labels: a label space needs at least one name.")
        index: dict[str, int] = {}
        for position, name in enumerate(self.names):
            if not isinstance(name, str) or not name.strip():
                raise TagformerError(f"label {position + 1} has an empty name: give every label a name.")
            if name in index:
                raise TagformerError(f"duplicate label '{name}': names must be unique; rename or remove one.")
            index[name] = position
        object.__setattr__(self, "_index", index)
        grouped: set[str] = set()
        for member in (name for members in self.groups.values() for name in members):
            self.index(member)
            if member in grouped:
                raise TagformerError(f"label '{member}' is in two groups: keep it in one.")
            grouped.add(member)
        for name in self.extra:
            self.index(name)
        if len(set(self.extra)) == len(self.names):
            raise TagformerError("every label is an extra label: at least one must be a target.")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The column of the label `name`, in any spelling that looks the same (see `plain_name`).

        Raises:
            TagformerError: there is no such label; the message suggests the closest name.
        """
        index: dict[str, int] = self._index  # type: ignore[attr-defined]
        if name not in index:
            name = _plain(name)
        if name not in index:
            raise TagformerError(
                f"unknown label '{name}'{did_you_mean(name, self.names) or f': there are {len(self)} labels'}."
            )
        return index[name]

    @property
    def is_target(self) -> Tensor:
        """bool (L,): True for targets, False for extra labels."""
        extra = set(self.extra)
        return torch.tensor([name not in extra for name in self.names])

    @property
    def group_numbers(self) -> Tensor:
        """int64 (L,): the number of each label's group, in the order of `groups`.

        Each label without a group gets a number of its own, after those of the groups.

        >>> LabelSpace(("cat", "day", "dog", "night"), {"time": ("day", "night")}).group_numbers
        tensor([1, 0, 2, 0])
        """
        numbers = {name: number for number, members in enumerate(self.groups.values()) for name in members}
        single = iter(range(len(self.groups), len(self.groups) + len(self)))
        return torch.tensor([numbers[name] if name in numbers else next(single) for name in self.names])

    def encode(self, present: Iterable[str], others: int = ABSENT) -> Tensor:
        """int8 (L,): the named labels are present, all others have the state `others`.

        >>> LabelSpace(("cat", "dog", "cow")).encode(["cow"])
        tensor([0, 0, 1], dtype=torch.int8)
        """
        labels = torch.full((len(self),), others, dtype=torch.int8)
        for name in present:
            labels[self.index(name)] = PRESENT
        return labels

    def known(self, states: Mapping[str, bool | int | None]) -> Tensor:
        """int8 (L,): known labels as a model takes them; labels that are not named, or None, are unknown.

        Args:
            states: for example ``{"dog": True, "cat": False}``; the states 1, 0 and -1 are accepted too.

        Raises:
            TagformerError: there is no such label or no such state.
        """
        known = torch.full((len(self),), UNKNOWN, dtype=torch.int8)
        for name, state in states.items():
            if state is not None and state not in (PRESENT, ABSENT, UNKNOWN):
                raise TagformerError(f"label '{name}' has the state {state!r}: use True, False or None.")
            known[self.index(name)] = UNKNOWN if state is None else int(state)
        return known

    def names_of(self, labels: Tensor, state: int = PRESENT) -> list[str]:
        """The names of the labels whose entry in `labels` (L,) is `state`.

        >>> LabelSpace(("cat", "dog", "cow")).names_of(torch.tensor([0, 1, -1]))
        ['dog']
        """
        return [self.names[position] for position in torch.nonzero(labels == state).flatten().tolist()]

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that can be written as JSON and read by `from_dict`."""
        return {
            "names": list(self.names),
            "groups": {group: list(members) for group, members in self.groups.items()},
            "extra": list(self.extra),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> LabelSpace:
        """The label space that `to_dict` wrote."""
        return cls(tuple(value["names"]), value.get("groups", {}), tuple(value.get("extra", ())))

    @classmethod
    def of(cls, labels: int | Sequence[str] | LabelSpace) -> LabelSpace:
        """A label space from a number of labels, from their names, or the given label space itself.

        >>> LabelSpace.of(2).names
        ('label_0', 'label_1')
        """
        if isinstance(labels, LabelSpace):
            return labels
        if isinstance(labels, int):
            return cls(tuple(f"label_{position}" for position in range(labels)))
        return cls(tuple(labels))


def _plain(name: str) -> str:
    return plain_name(name) if isinstance(name, str) else name


def without_extra(labels: Tensor, label_space: LabelSpace) -> Tensor:
    """Set the extra labels in `labels` (..., L) to unknown, which leaves them out of losses and metrics.

    >>> import torch
    >>> from tagformer.labels import LabelSpace, without_extra
    >>> without_extra(torch.tensor([1, 0, 1]), LabelSpace(("cat", "dog", "night"), extra=("night",)))
    tensor([ 1,  0, -1])
    """
    return labels.masked_fill(~label_space.is_target.to(labels.device), UNKNOWN)
