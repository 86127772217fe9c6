"""Losses over labels with three states, as pure functions.

Entries whose label is unknown (-1) are left out. Everything is computed in float32, whatever the logits' type. The
reduction is always said: papers and code bases differ in it, and it decides the learning rate.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tagformer.labels.space import PRESENT, UNKNOWN

REDUCTIONS = ("none", "sum", "batchmean", "mean")


def binary_cross_entropy(logits: Tensor, labels: Tensor, *, reduction: str) -> Tensor:
    """Binary cross-entropy of logits (B, L) against labels (B, L) in {1, 0, -1}.

    Args:
        reduction: ``none`` gives (B, L) with 0 where unknown; ``sum`` adds up all entries (C-Tran's code);
            ``batchmean`` sums over labels and takes the mean over the batch (MlTr); ``mean`` is the mean over the
            annotated entries (CAT).
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
    """Asymmetric loss (Ridnik et al. 2021; MlTr Eqs. 14 to 16) of logits (B, L) against labels (B, L) in {1, 0, -1}.

    With p = sigmoid(logit) and p_m = max(p - margin, 0), an entry costs ``-(1 - p)^gamma_positive log p`` where the
    label is present and ``-p_m^gamma_negative log(1 - p_m)`` where it is absent. The focusing weights are part of the
    gradient, as in the paper's equations.

    Args:
        reduction: as in `binary_cross_entropy`.
        gamma_negative, gamma_positive: focusing of absent and present labels, >= 0.
        margin: shift of the probability of absent labels, in [0, 1).
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
    """Softmax cross-entropy of logits (B, L) where each image has exactly one label, as in single-label data sets.

    Args:
        labels: (B, L) in {1, 0, -1}; rows without exactly one 1 are left out, and so are unknown labels in the softmax.
        reduction: ``none`` gives (B, L), the image's loss at its label; otherwise as in `binary_cross_entropy`, but
            ``mean`` is the mean over the images.
    """
    present = labels == PRESENT
    chosen = present & (present.sum(dim=1, keepdim=True) == 1)
    loss = -torch.log_softmax(logits.float().masked_fill(labels == UNKNOWN, float("-inf")), dim=1)
    return reduce(loss, torch.where(chosen, labels, UNKNOWN), reduction)


def count_loss(count_logits: Tensor, labels: Tensor, *, reduction: str) -> Tensor:
    """Cross-entropy of how many labels are present (MlTr's object-aware token loss, Eq. 17).

    Images with an unknown label are left out, for nobody knows their count.

    Args:
        count_logits: (B, T + 1), for 0 to T present labels.
        labels: (B, T) in {1, 0, -1}.
        reduction: ``none`` gives (B,), ``sum`` and ``batchmean`` as in `binary_cross_entropy`; ``mean`` is the mean
            over the images whose count is known.
    """
    counts = (labels == PRESENT).sum(dim=1)
    loss = F.cross_entropy(count_logits.float(), counts, reduction="none")
    certain = torch.where((labels == UNKNOWN).any(dim=1), UNKNOWN, counts)
    return reduce(loss, certain, reduction)


def reduce(loss: Tensor, labels: Tensor, reduction: str) -> Tensor:
    """Reduce a loss, (B, L) or (B,), over the annotated entries; see `binary_cross_entropy`. Without any it is 0."""
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
