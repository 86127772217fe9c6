"""Which label to ask about next: the one whose answer is expected to say most about all that is still unknown.

An entropy h(p) is in bits. What an answer to label j says about a label i is their mutual information under the model,
I(i; j) = h(m_i) - [p_j h(p_i given j present) + (1 - p_j) h(p_i given j absent)], where the mean m_i weighs the two
probabilities of i as the answers are likely. The expected information gain of asking j is the sum of I(i; j) over the
unknown target labels i, with I(j; j) = h(p_j).

A mean over labels, as mAP is, asks as much of a rare label as of a common one, though rare labels have few bits to
give. `label_weights` evens that out: the more images have a label, the less one bit about it counts.

For a consistent model m_i is p_i, what the model says before the question, and the gain is how much of the uncertainty
an answer takes away on average. A network told more is often surer of everything, whatever the answer was; measured
against p_i that would count as information, measured against m_i it does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.models.base import MultiLabelModel

SHORTLIST = 16  # where every label of many images would take too long: those that tell most about themselves
RARE = 0.02  # below this frequency rarer labels count hardly more
DECODED = 256  # sets of known labels that are decoded at a time


def entropy_bits(probabilities: Tensor) -> Tensor:
    """The entropy of a yes or no of these probabilities, in bits; same shape."""
    return (torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)) / torch.log(torch.tensor(2.0))


def label_weights(frequencies: Tensor) -> Tensor:
    """What a bit about each label is worth, (L,) with mean 1: in inverse proportion to its frequency + 2 %."""
    weights = 1 / (frequencies + RARE)
    return weights / weights.mean()


@torch.inference_mode()
def expected_information_gain(
    model: MultiLabelModel,
    features: Tensor,
    known: Tensor,
    askable: Tensor | None = None,
    shortlist: int | None = SHORTLIST,
    temperature: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """The gain of asking each label, in bits of that worth; see the module's text.

    Args:
        features: (B, ...) of the model's `encode`.
        known: int8 (B, L), what is known already.
        askable: bool (B, L), the labels that may be asked about; None: all that are unknown.
        shortlist: of each image only so many labels are worked out, those that tell most about themselves; a surer
            label that many others hang on is missed. None: all.
        temperature: the probabilities are sigmoid(logits / temperature).
        weights: (L,) of `label_weights`; None: all alike.

    Returns:
        (B, L); -inf for labels that are known, may not be asked or are off the shortlist.
    """
    worth = torch.ones(known.shape[1], device=known.device) if weights is None else weights.to(known.device)

    def probabilities(rows: Tensor, told: Tensor) -> Tensor:
        parts = [
            torch.sigmoid(model.decode(features[some], own).logits.float() / temperature)
            for some, own in zip(rows.split(DECODED), told.split(DECODED), strict=True)
        ]
        return torch.cat(parts)

    rows = torch.arange(len(features), device=known.device)
    found = probabilities(rows, known)
    asked = known == UNKNOWN if askable is None else askable & (known == UNKNOWN)
    own = entropy_bits(found)
    count = min(shortlist or known.shape[1], known.shape[1])
    uncertain, columns = (own * worth).masked_fill(~asked, -1.0).topk(count, dim=1)
    row, place = torch.nonzero(uncertain >= 0, as_tuple=True)
    column, each = columns[row, place], torch.arange(len(row), device=known.device)
    gain = torch.full(known.shape, -torch.inf, device=known.device)
    if not len(row):
        return gain
    mean = torch.zeros(len(row), known.shape[1], device=known.device)
    left = torch.zeros_like(mean)
    for state in (PRESENT, ABSENT):
        told = known[row].clone()
        told[each, column] = state
        chance = found[row, column] if state == PRESENT else 1 - found[row, column]
        given = probabilities(row, told)
        mean += chance[:, None] * given
        left += chance[:, None] * entropy_bits(given)
    tells = (entropy_bits(mean.clamp(max=1)) - left) * (known[row] == UNKNOWN)
    tells[each, column] = own[row, column]
    gain[row, column] = (tells * worth * model.label_space.is_target.to(known.device)).sum(1)
    return gain
