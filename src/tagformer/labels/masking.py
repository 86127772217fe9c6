"""Which labels a model is told: the draws of training (label mask training) and of evaluation."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tagformer.errors import TagformerError
from tagformer.labels.space import UNKNOWN, LabelSpace


def label_mask_training(
    labels: Tensor,
    min_unknown: float = 0.25,
    generator: torch.Generator | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    """Draw what a model is told about a training batch (C-Tran, "Label Mask Training").

    For each sample the number of labels hidden from the model is uniform in {ceil(min_unknown * L), ..., L}, and which
    ones is uniform too. The loss belongs on the labels that stay unknown: see `without_known`.

    With `groups` whole groups are hidden or told: the same rule for G groups instead of L labels. Of a group whose
    labels exclude each other, one label gives the others away.

    Args:
        labels: int8 (B, L), the annotations.
        min_unknown: least share of the labels that stays unknown; the paper's is 0.25.
        generator: source of randomness; the global one when None.
        groups: int64 (L,), the number of each label's group in 0..G-1, see `LabelSpace.group_numbers`.

    Returns:
        known: int8 (B, L); `labels` where told, -1 elsewhere. What is not annotated stays unknown.
    """
    batch = len(labels)
    count = labels.shape[1] if groups is None else int(groups.max()) + 1
    least = math.ceil(round(min_unknown * count, 9))
    unknown = torch.randint(least, count + 1, (batch, 1), generator=generator)
    order = torch.rand(batch, count, generator=generator).argsort(dim=1).argsort(dim=1)
    hidden = order < unknown if groups is None else (order < unknown)[:, groups]
    return labels.masked_fill(hidden.to(labels.device), UNKNOWN)


def extra_mask_training(labels: Tensor, label_space: LabelSpace, generator: torch.Generator | None = None) -> Tensor:
    """As `label_mask_training`, but only extra labels are told: from none of their groups to all of them.

    An extra label of no group is a group of its own. The targets are always hidden, as where classes are asked for and
    nobody could tell one of them.

    Raises:
        TagformerError: there are no extra labels.
    """
    columns = torch.nonzero(~label_space.is_target).flatten()
    if not len(columns):
        raise TagformerError("known.masking=extra_groups: the data has no extra labels; use labels or groups.")
    _, groups = label_space.group_numbers[columns].unique(return_inverse=True)
    known = torch.full_like(labels, UNKNOWN)
    known[:, columns] = label_mask_training(labels[:, columns], 0.0, generator, groups)
    return known


def without_known(labels: Tensor, known: Tensor) -> Tensor:
    """`labels` (B, L) with everything that the model was told set to unknown: what is left to be predicted."""
    return labels.masked_fill(known != UNKNOWN, UNKNOWN)


def extra_groups(label_space: LabelSpace) -> list[str]:
    """The groups that consist of extra labels alone: what somebody may be asked about, one group at a time."""
    extra = set(label_space.extra)
    return [group for group, members in label_space.groups.items() if members and extra.issuperset(members)]


def draw_groups(labels: Tensor, ids: Sequence[str], label_space: LabelSpace, count: int, seed: int = 0) -> Tensor:
    """Tell the model all labels of `count` groups of extra labels, another choice for each image (C-Tran, CUB).

    Args:
        labels: int8 (N, L), the annotations; what is not annotated stays unknown.
        ids: the choice follows from the seed and the image's id; more groups include the fewer.
        count: how many of `extra_groups` are told.

    Returns:
        known: int8 (N, L), -1 where not told.

    Raises:
        TagformerError: there are not so many groups of extra labels.
    """
    groups = extra_groups(label_space)
    if not 0 <= count <= len(groups):
        raise TagformerError(f"{count} groups cannot be known: there are {len(groups)} groups of extra labels.")
    columns = [[label_space.index(name) for name in label_space.groups[group]] for group in groups]
    known = torch.full_like(labels, UNKNOWN)
    for row, image_id in enumerate(ids):
        for group in _generator(seed, image_id).permutation(len(groups))[:count]:
            known[row, columns[group]] = labels[row, columns[group]]
    return known


def _generator(seed: int, image_id: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}/{image_id}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def draw_order(ids: Sequence[str], label_space: LabelSpace, seed: int = 0) -> Tensor:
    """int64 (N, T): for each image a random order of the T target labels' columns, from the seed and the image's id.

    It depends on nothing else, so that another crop, batch or machine draws the same labels.
    """
    targets = torch.nonzero(label_space.is_target).flatten().numpy()
    rows = [_generator(seed, image_id).permutation(targets) for image_id in ids]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, len(targets), dtype=torch.long)


def draw_known(labels: Tensor, order: Tensor, fraction: float, scored: str = "fixed") -> tuple[Tensor, Tensor]:
    """Tell the model a fraction of the target labels at evaluation, and say which entries are scored.

    The first ``floor(fraction * T)`` labels of each image's `order` are told, so that the known sets are nested: what
    is known at 25 % is known at 50 % too.

    Args:
        labels: int8 (N, L), the annotations.
        order: int64 (N, T) from `draw_order`.
        fraction: share of the target labels that is told.
        scored: ``"fixed"``: the last quarter of the order, the same entries at every fraction up to 75 %, so that the
            figures can be compared along the curve. ``"unknown"``: everything that is not told, as in C-Tran's tables;
            the set shrinks as more is known.

    Returns:
        known: int8 (N, L), -1 where not told; targets: int8 (N, L), `labels` where scored, -1 elsewhere.

    Raises:
        TagformerError: the fraction leaves nothing to score.
    """
    count = order.shape[1]
    told = math.floor(round(fraction * count, 9))
    last = math.floor(0.75 * count) if scored == "fixed" else told
    if scored not in ("fixed", "unknown"):
        raise ValueError(f"scored must be 'fixed' or 'unknown', not {scored!r}")
    if not 0 <= fraction < 1 or told > last or last >= count:
        limit = "at most 75 %" if scored == "fixed" else "below 100 %"
        raise TagformerError(f"{fraction:.0%} of the labels cannot be known: some must be left to score; use {limit}.")
    known = torch.full_like(labels, UNKNOWN)
    targets = torch.full_like(labels, UNKNOWN)
    known.scatter_(1, order[:, :told], labels.gather(1, order[:, :told]))
    targets.scatter_(1, order[:, last:], labels.gather(1, order[:, last:]))
    return known, targets
