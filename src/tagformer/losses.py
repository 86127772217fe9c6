"""Losses over labels with three states, as pure functions.

Entries whose label is unknown (-1) are left out. Everything is computed in float32, whatever the type of the logits.
The reduction is a required argument: papers and code bases differ in it, and the learning rate depends on it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tagformer.errors import TagformerError, did_you_mean
from tagformer.extensions import is_reference, load_reference, meant_reference
from tagformer.labels.space import PRESENT, UNKNOWN

__all__ = [
    "LOSSES",
    "REDUCTIONS",
    "asymmetric_loss",
    "binary_cross_entropy",
    "count_loss",
    "exclusive_cross_entropy",
    "get_loss",
    "reduce",
]

REDUCTIONS = ("none", "sum", "batchmean", "mean")


def binary_cross_entropy(logits: Tensor, labels: Tensor, *, reduction: str) -> Tensor:
    """Binary cross-entropy (CAT, Eq. 8; MlTr, Eqs. 11 and 12).

    Args:
        logits: (B, L).
        labels: (B, L) in {1, 0, -1}.
        reduction: ``none`` returns (B, L), with 0 where a label is unknown; ``sum`` sums all entries (authors' code of
            C-Tran); ``batchmean`` sums over the labels and takes the mean over the batch (MlTr); ``mean`` is the mean
            over the entries that are not unknown (CAT).

    Returns:
        A float32 scalar, or (B, L) for ``none``.

    >>> logits, labels = torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[1, 0, -1]])
    >>> binary_cross_entropy(logits, labels, reduction="none")
    tensor([[0.6931, 0.6931, 0.0000]])
    """
    logits = logits.float()
    loss = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).float(), reduction="none")
    return reduce(loss, labels, reduction)


def asymmetric_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    reduction: str,
    gamma_negative: float = 4.0,
    gamma_positive: float = 0.0,
    margin: float = 0.05,
) -> Tensor:
    """Asymmetric loss, ASL (Ridnik et al. 2021; MlTr, Eqs. 14 to 16).

    With p = sigmoid(logit) and p_m = max(p - margin, 0), the loss is ``-(1 - p)^gamma_positive log(p)`` for a present
    label (L_+, Eq. 15) and ``-p_m^gamma_negative log(1 - p_m)`` for an absent label (L_-, Eq. 16, which prints p - m).
    The gradient includes the focusing weights, as in the equations.

    Args:
        logits: (B, L).
        labels: (B, L) in {1, 0, -1}.
        reduction: as in `binary_cross_entropy`.
        gamma_negative, gamma_positive: focusing of absent and present labels, >= 0. MlTr: 4 and 0.
        margin: shift m of the probability of absent labels, in [0, 1). MlTr: 0.05.

    Returns:
        A float32 scalar, or (B, L) for ``none``.

    >>> easy, hard = torch.tensor([[-3.0]]), torch.tensor([[3.0]])  # predicted absent, predicted present
    >>> absent = torch.tensor([[0]])
    >>> [asymmetric_loss(logits, absent, reduction="sum").item() > 0 for logits in (easy, hard)]
    [False, True]
    """
    logits = logits.float()
    present = labels == PRESENT
    probabilities = torch.sigmoid(logits)
    positive = -F.logsigmoid(logits)
    if gamma_positive:
        positive = positive * torch.exp(gamma_positive * F.logsigmoid(-logits))
    shifted = (probabilities - margin).clamp(min=0)
    negative = -torch.log1p(-shifted) if margin else F.softplus(logits)  # with a margin, at most -log(margin)
    if gamma_negative:
        negative = negative * shifted.pow(gamma_negative)
    return reduce(torch.where(present, positive, negative), labels, reduction)


def exclusive_cross_entropy(logits: Tensor, labels: Tensor, *, reduction: str) -> Tensor:
    """Softmax cross-entropy, for data where each image has exactly one label.

    Args:
        logits: (B, L).
        labels: (B, L) in {1, 0, -1}. Images without exactly one 1 are left out. Unknown labels are left out of the
            softmax.
        reduction: ``none`` returns (B, L), with the loss of an image at its label and 0 elsewhere; otherwise as in
            `binary_cross_entropy`, but ``mean`` is the mean over the images.

    Returns:
        A float32 scalar, or (B, L) for ``none``.

    >>> logits, labels = torch.zeros(1, 4), torch.tensor([[0, 1, 0, 0]])
    >>> exclusive_cross_entropy(logits, labels, reduction="mean").exp().round(decimals=3).item()
    4.0
    """
    present = labels == PRESENT
    only_label = present & (present.sum(dim=1, keepdim=True) == 1)
    loss = -torch.log_softmax(logits.float().masked_fill(labels == UNKNOWN, float("-inf")), dim=1)
    return reduce(loss, torch.where(only_label, labels, UNKNOWN), reduction)


def count_loss(count_logits: Tensor, labels: Tensor, *, reduction: str) -> Tensor:
    """Object-aware token loss, OTL: cross-entropy of the number of present labels (MlTr, section 3.2.2, Eq. 17).

    Images with an unknown label are left out, because their count is unknown.

    Args:
        count_logits: (B, T + 1), for 0 to T present labels.
        labels: (B, T) in {1, 0, -1}, of the target labels.
        reduction: ``none`` returns (B,); ``sum`` and ``batchmean`` as in `binary_cross_entropy`; ``mean`` is the mean
            over the images whose count is known.

    Returns:
        A float32 scalar, or (B,) for ``none``.

    >>> count_logits = torch.tensor([[0.0, 0.0, 9.0]])  # two labels, very probably
    >>> labels = torch.tensor([[1, 1]])
    >>> count_loss(count_logits, labels, reduction="mean").round(decimals=2).item()
    0.0
    """
    counts = (labels == PRESENT).sum(dim=1)
    loss = F.cross_entropy(count_logits.float(), counts, reduction="none")
    certain_counts = torch.where((labels == UNKNOWN).any(dim=1), UNKNOWN, counts)
    return reduce(loss, certain_counts, reduction)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "bce": binary_cross_entropy,
    "asl": asymmetric_loss,
    "softmax": exclusive_cross_entropy,
}


def get_loss(name: str) -> Callable[..., Tensor]:
    """A loss by name: a function ``(logits, labels, *, reduction) -> Tensor``.

    Args:
        name: a name in `LOSSES`, or ``package.module:function``. A loss of your own has the arguments and the meaning
            of `binary_cross_entropy`; `reduce` leaves out unknown entries.

    Raises:
        TagformerError: the name is unknown, or the reference is wrong.

    >>> get_loss("bce").__name__
    'binary_cross_entropy'
    """
    if is_reference(name):
        return load_reference(name, "loss")
    if name not in LOSSES:
        raise TagformerError(
            f"unknown loss '{name}'{meant_reference(name) or did_you_mean(name, LOSSES)} "
            f"(losses: {', '.join(LOSSES)}; or your own, package.module:function)."
        )
    return LOSSES[name]


def reduce(loss: Tensor, labels: Tensor, reduction: str) -> Tensor:
    """Reduce a loss per entry; entries whose label is unknown are left out.

    Args:
        loss: (B, L) or (B,).
        labels: of the same shape; -1 is unknown.
        reduction: as in `binary_cross_entropy`.

    Returns:
        A scalar, or the shape of the loss for ``none``; 0 if all labels are unknown.

    Raises:
        ValueError: the reduction is unknown.

    >>> reduce(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[1, 0, -1]]), "mean").item()
    2.0
    """
    annotated = labels != UNKNOWN
    loss = loss.masked_fill(~annotated, 0)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "batchmean":
        return loss.sum() / max(1, len(loss))
    if reduction == "mean":
        return loss.sum() / annotated.sum().clamp(min=1)
    raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, not {reduction!r}")
