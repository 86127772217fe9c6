"""A label has three states: present, absent, unknown.

One int8 tensor of shape (B, L) says the same thing everywhere: in annotations, in what a model is told, in what a
loss sums and a metric counts. This file holds the states, the names they belong to, and the rules by which known
labels are drawn for training and for evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tagformer.errors import TagformerError, did_you_mean

PRESENT, ABSENT, UNKNOWN = 1, 0, -1


@dataclass(frozen=True)
class LabelSpace:
    """The ordered, unique names of the labels.

    Args:
        names: one name a label, in the order of the columns.
        groups: group name -> names of its labels (for example the 28 concept groups of CUB). A label is in at most
            one group.
        extra: names of labels that a model may be told but that are never scored (C-Tran's "extra labels").

    Raises:
        TagformerError: no names, an empty name, a duplicate, or a group or extra label that is not among the names.
    """

    names: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "extra", tuple(self.extra))
        object.__setattr__(self, "groups", {group: tuple(members) for group, members in self.groups.items()})
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
                raise TagformerError(f"label '{member}' is in two groups: a label belongs to at most one.")
            grouped.add(member)
        for name in self.extra:
            self.index(name)
        if len(set(self.extra)) == len(self.names):
            raise TagformerError("every label is an extra label: at least one must be a target.")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The column of `name`.

        Raises:
            TagformerError: there is no such label; the message offers the nearest name.
        """
        index: dict[str, int] = self._index  # type: ignore[attr-defined]
        if name not in index:
            raise TagformerError(
                f"unknown label '{name}'{did_you_mean(name, self.names) or f': there are {len(self)} labels'}."
            )
        return index[name]

    @property
    def is_target(self) -> Tensor:
        """bool (L,): True where the label is scored, False for extra labels."""
        return torch.tensor([name not in set(self.extra) for name in self.names])

    @property
    def group_numbers(self) -> Tensor:
        """int64 (L,): the number of each label's group, in the order of `groups`; labels without one follow singly."""
        numbers = {name: number for number, members in enumerate(self.groups.values()) for name in members}
        single = iter(range(len(self.groups), len(self.groups) + len(self)))
        return torch.tensor([numbers[name] if name in numbers else next(single) for name in self.names])

    def encode(self, present: Iterable[str], others: int = ABSENT) -> Tensor:
        """int8 (L,) from the names of the present labels; every other label takes the state `others`."""
        labels = torch.full((len(self),), others, dtype=torch.int8)
        for name in present:
            labels[self.index(name)] = PRESENT
        return labels

    def known(self, states: Mapping[str, bool | int | None]) -> Tensor:
        """int8 (L,) from what is known: ``{"dog": True, "cat": False}``; labels not named (or None) are unknown."""
        known = torch.full((len(self),), UNKNOWN, dtype=torch.int8)
        for name, state in states.items():
            if state is not None and state not in (PRESENT, ABSENT, UNKNOWN):
                raise TagformerError(f"label '{name}' has the state {state!r}: use True, False or None.")
            known[self.index(name)] = UNKNOWN if state is None else int(state)
        return known

    def names_of(self, labels: Tensor, state: int = PRESENT) -> list[str]:
        """The names of the labels (L,) that have `state`."""
        return [self.names[position] for position in torch.nonzero(labels == state).flatten().tolist()]

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON; `from_dict` reads it."""
        return {
            "names": list(self.names),
            "groups": {k: list(v) for k, v in self.groups.items()},
            "extra": list(self.extra),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> LabelSpace:
        return cls(tuple(value["names"]), value.get("groups", {}), tuple(value.get("extra", ())))

    @classmethod
    def of(cls, labels: int | Sequence[str] | LabelSpace) -> LabelSpace:
        """A label space from what `create_model` accepts: a count, the names, or a label space itself."""
        if isinstance(labels, LabelSpace):
            return labels
        if isinstance(labels, int):
            return cls(tuple(f"label_{position}" for position in range(labels)))
        return cls(tuple(labels))


def without_extra(labels: Tensor, label_space: LabelSpace) -> Tensor:
    """`labels` (..., L) with the extra labels set to unknown, so that no loss and no metric sees them."""
    return labels.masked_fill(~label_space.is_target.to(labels.device), UNKNOWN)
