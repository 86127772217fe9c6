"""Which labels a model is given as known: drawn anew for each training batch, and once per image in evaluation."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tagformer.errors import TagformerError
from tagformer.labels.space import UNKNOWN, LabelSpace

FIXED_SHARE = 0.75  # with scored="fixed", the labels from this share of an image's order on are the scored ones


def label_mask_training(
    labels: Tensor,
    min_unknown: float = 0.25,
    generator: torch.Generator | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    """Draw the known labels of a training batch, as in C-Tran's Label Mask Training.

    For each image, the number of labels to hide is uniform in {ceil(min_unknown * L), ..., L}, and so is the choice of
    the hidden labels. The loss is taken over the labels that stay unknown, see `without_known`.

    With `groups`, each group is hidden or known as a whole: the same rule for G groups instead of L labels. Where the
    labels of a group exclude each other, a single known label would reveal the others.

    Args:
        labels: int8 (B, L), the annotations.
        min_unknown: the smallest share of labels to hide. Paper: 0.25.
        generator: source of randomness. None: torch's global generator.
        groups: int64 (L,), the number of each label's group in 0..G-1, see `LabelSpace.group_numbers`.

    Returns:
        known: int8 (B, L), equal to `labels` where known, -1 elsewhere. What is not annotated stays unknown.

    >>> import torch
    >>> from tagformer.labels import label_mask_training
    >>> labels = torch.ones(1000, 4, dtype=torch.int8)
    >>> known = label_mask_training(labels, min_unknown=0.5)
    >>> sorted(set((known == 1).sum(dim=1).tolist()))  # at least two of the four labels stay unknown
    [0, 1, 2]
    """
    batch = len(labels)
    count = labels.shape[1] if groups is None else int(groups.max()) + 1
    least = math.ceil(round(min_unknown * count, 9))
    unknown = torch.randint(least, count + 1, (batch, 1), generator=generator)
    rank = torch.rand(batch, count, generator=generator).argsort(dim=1).argsort(dim=1)
    hidden = rank < unknown if groups is None else (rank < unknown)[:, groups]
    return labels.masked_fill(hidden.to(labels.device), UNKNOWN)


def extra_mask_training(
    labels: Tensor,
    label_space: LabelSpace,
    generator: torch.Generator | None = None,
    min_unknown: float = 0.0,
    by_group: bool = True,
) -> Tensor:
    """Draw known labels as `label_mask_training` does, but among the extra labels only.

    Target labels are always hidden: this is for data where a user can answer questions about the image but not name its
    class.

    Args:
        labels, generator, min_unknown: as in `label_mask_training`.
        label_space: the labels.
        by_group: a group of extra labels is hidden or known as a whole; an extra label without a group counts as a
            group of its own. False: single labels are drawn, as in the authors' code of C-Tran on CUB.

    Raises:
        TagformerError: the label space has no extra labels.

    >>> import torch
    >>> from tagformer.labels import LabelSpace, extra_mask_training
    >>> space = LabelSpace(("cat", "dog", "night"), extra=("night",))
    >>> extra_mask_training(torch.ones(50, 3, dtype=torch.int8), space).unique(dim=0).tolist()
    [[-1, -1, -1], [-1, -1, 1]]
    """
    columns = torch.nonzero(~label_space.is_target).flatten()
    if not len(columns):
        raise TagformerError(
            "known.masking=extra_groups and extra_labels: the data has no extra labels; use labels or groups."
        )
    groups = label_space.group_numbers[columns].unique(return_inverse=True)[1] if by_group else None
    known = torch.full_like(labels, UNKNOWN)
    known[:, columns] = label_mask_training(labels[:, columns], min_unknown, generator, groups)
    return known


def draw_training_known(
    labels: Tensor, label_space: LabelSpace, masking: Sequence[str] = ("labels",), min_unknown: float = 0.25
) -> Tensor:
    """Draw the known labels of a training batch as the recipe's section ``known`` says, int8 (B, L).

    Args:
        labels: int8 (B, L).
        label_space: the labels.
        masking: labels, groups, extra_labels or extra_groups; of several, one is drawn.
        min_unknown: the smallest share of labels to hide; with extra_groups it is 0.

    Raises:
        TagformerError: extra labels are to be known, and there are none.

    >>> import torch
    >>> from tagformer.labels import LabelSpace
    >>> from tagformer.labels.masking import draw_training_known
    >>> space = LabelSpace(("red", "blue"), groups={"colour": ("red", "blue")})
    >>> draw_training_known(torch.ones(50, 2, dtype=torch.int8), space, ["groups"], 0.0).unique(dim=0).tolist()
    [[-1, -1], [1, 1]]
    """
    count = len(masking)
    kind = masking[int(torch.randint(count, ())) if count > 1 else 0]
    if kind == "extra_groups":
        return extra_mask_training(labels, label_space)
    if kind == "extra_labels":
        return extra_mask_training(labels, label_space, min_unknown=min_unknown, by_group=False)
    return label_mask_training(labels, min_unknown, groups=label_space.group_numbers if kind == "groups" else None)


def without_known(labels: Tensor, known: Tensor) -> Tensor:
    """Set the known entries of `labels` (B, L) to unknown, which leaves those that the model has to predict.

    >>> import torch
    >>> from tagformer.labels import without_known
    >>> without_known(torch.tensor([[1, 0, 1]]), known=torch.tensor([[-1, 0, -1]]))
    tensor([[ 1, -1,  1]])
    """
    return labels.masked_fill(known != UNKNOWN, UNKNOWN)


def extra_groups(label_space: LabelSpace) -> list[str]:
    """The names of the groups that consist of extra labels only. A user can be asked for one such group at a time.

    >>> from tagformer.labels import LabelSpace, extra_groups
    >>> space = LabelSpace(("cat", "day", "night"), {"time": ("day", "night")}, extra=("day", "night"))
    >>> extra_groups(space)
    ['time']
    """
    extra = set(label_space.extra)
    return [group for group, members in label_space.groups.items() if members and extra.issuperset(members)]


def draw_groups(labels: Tensor, ids: Sequence[str], label_space: LabelSpace, count: int, seed: int = 0) -> Tensor:
    """Draw `count` groups of extra labels for each image, whose labels are then known (C-Tran's test on CUB).

    Args:
        labels: int8 (N, L), the annotations; what is not annotated stays unknown.
        ids: N image ids. The choice depends on the seed and the id only, and a larger `count` adds groups to it.
        count: the number of `extra_groups` that are known.

    Returns:
        known: int8 (N, L), -1 where not known.

    Raises:
        TagformerError: the label space has fewer groups of extra labels.

    >>> import torch
    >>> from tagformer.labels import LabelSpace, draw_groups
    >>> space = LabelSpace(("cat", "day", "night"), {"time": ("day", "night")}, extra=("day", "night"))
    >>> draw_groups(torch.tensor([[1, 0, 1]], dtype=torch.int8), ["a.jpg"], space, count=1)
    tensor([[-1,  0,  1]], dtype=torch.int8)
    """
    groups = extra_groups(label_space)
    if not 0 <= count <= len(groups):
        raise TagformerError(f"{count} groups cannot be known: the data has {len(groups)} groups of extra labels.")
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
    """Draw a random order of the target labels for each image, for `draw_known`.

    The order depends on the seed and the image's id only, so another crop, batch size or machine draws the same one.

    Args:
        ids: N image ids.

    Returns:
        int64 (N, T), a permutation of the T target columns in each row.

    >>> from tagformer.labels import LabelSpace, draw_order
    >>> order = draw_order(["a.jpg", "b.jpg"], LabelSpace(("cat", "dog", "cow")))
    >>> order.sort(dim=1).values.tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    targets = torch.nonzero(label_space.is_target).flatten().numpy()
    rows = [_generator(seed, image_id).permutation(targets) for image_id in ids]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, len(targets), dtype=torch.long)


def draw_known(labels: Tensor, order: Tensor, known_share: float, scored: str = "fixed") -> tuple[Tensor, Tensor]:
    """Split the target labels of each image into those that are known and those that are scored.

    The first ``floor(known_share * T)`` labels of each image's `order` are known. The known sets are therefore nested:
    what is known at 25 % is also known at 50 %.

    Args:
        labels: int8 (N, L), the annotations.
        order: int64 (N, T) from `draw_order`.
        known_share: the share of the target labels that is known.
        scored: ``"fixed"``: the last quarter of the order is scored. These are the same entries for every share up to
            75 %, so the figures can be compared along the curve. ``"unknown"``: every label that is not known is
            scored, as in C-Tran's tables; the scored set shrinks as more is known.

    Returns:
        known: int8 (N, L), -1 where not known; targets: int8 (N, L), equal to `labels` where scored, -1 elsewhere.

    Raises:
        TagformerError: the known share leaves nothing to score.
        ValueError: `scored` is neither of the two.

    >>> import torch
    >>> from tagformer.labels import draw_known
    >>> labels = torch.tensor([[1, 0, 0, 1]], dtype=torch.int8)
    >>> known, targets = draw_known(labels, order=torch.tensor([[2, 0, 3, 1]]), known_share=0.5)
    >>> known.tolist(), targets.tolist()
    ([[1, -1, 0, -1]], [[-1, 0, -1, -1]])
    """
    if scored not in ("fixed", "unknown"):
        raise ValueError(f"scored must be 'fixed' or 'unknown', not {scored!r}")
    check_known_share(known_share, scored)
    count = order.shape[1]
    known_count = math.floor(round(known_share * count, 9))
    first_scored = math.floor(FIXED_SHARE * count) if scored == "fixed" else known_count
    if first_scored >= count:  # a share so near to 1 that all labels are known
        raise _nothing_to_score(known_share, scored)
    known = torch.full_like(labels, UNKNOWN)
    targets = torch.full_like(labels, UNKNOWN)
    known_columns, scored_columns = order[:, :known_count], order[:, first_scored:]
    known.scatter_(1, known_columns, labels.gather(1, known_columns))
    targets.scatter_(1, scored_columns, labels.gather(1, scored_columns))
    return known, targets


def check_known_share(known_share: float, scored: str) -> None:
    """Check that a share of known labels leaves labels to score; see `draw_known`.

    Raises:
        TagformerError: the share is below 0, or it leaves nothing to score.

    >>> from tagformer.labels.masking import check_known_share
    >>> check_known_share(0.75, "fixed")
    """
    if not (0 <= known_share < 1 and (scored != "fixed" or known_share <= FIXED_SHARE)):
        raise _nothing_to_score(known_share, scored)


def _nothing_to_score(known_share: float, scored: str) -> TagformerError:
    limit = (
        f"at most {FIXED_SHARE:.0%}, because the last quarter is kept for scoring"
        if scored == "fixed"
        else "a share below 100%, because some labels must be left to score"
    )
    return TagformerError(f"{known_share:.0%} of the labels cannot be known: with scored={scored}, use {limit}.")
