"""Which label to ask about next: the one whose answer is expected to tell most about the labels still unknown.

h(p) is the entropy of a yes or no of probability p, in bits. The information that the answer to label j gives about
label i is their mutual information under the model,

    I(i; j) = h(m_i) - [p_j h(p_i given j present) + (1 - p_j) h(p_i given j absent)],
    m_i = p_j (p_i given j present) + (1 - p_j) (p_i given j absent),

and I(j; j) = h(p_j). The expected information gain of asking about j is the sum of I(i; j) over the unknown target
labels i, each multiplied by its weight.

Why m_i and not p_i, the model's probability before the question: the two are equal in a model that follows the rules
of probability, but in practice any extra input makes the model more confident, right or wrong; confidence alone is not
information. Measured against p_i this confidence would count as a gain, measured against m_i it does not.

Why weights: mAP is a mean over labels, so a rare label counts as much as a common one, although its entropy is small.
`label_weights` gives the entropy of rare labels a larger weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.models.base import MultiLabelModel

SHORTLIST = 16  # labels per image whose gain is computed, where all of them would take too long
RARE = 0.02  # added to each frequency, so that the weight of the rarest labels is bounded
DECODED = 256  # sets of known labels that are decoded at a time


def entropy_bits(probabilities: Tensor) -> Tensor:
    """The entropy of a yes or no of these probabilities, in bits; same shape.

    >>> import torch
    >>> from tagformer.tagging.questions import entropy_bits
    >>> entropy_bits(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0., 1., 0.])
    """
    return (torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)) / torch.log(torch.tensor(2.0))


def label_weights(frequencies: Tensor) -> Tensor:
    """The weight of a bit about each label, (L,) with mean 1: inversely proportional to its frequency + 2 %.

    >>> import torch
    >>> from tagformer.tagging.questions import label_weights
    >>> label_weights(torch.tensor([0.08, 0.48]))
    tensor([1.6667, 0.3333])
    """
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
    """The expected information gain of asking about each label, in weighted bits; see the module's text.

    Args:
        model: a model that uses known labels.
        features: (B, ...) of the model's `encode`.
        known: int8 (B, L), the labels known so far.
        askable: bool (B, L), the labels that may be asked about; None: all that are unknown.
        shortlist: only so many labels per image are computed, those with the largest weighted entropy of their own; a
            label that the model is sure of is then left out, even if many others depend on it. None: all labels.
        temperature: the probabilities are sigmoid(logits / temperature).
        weights: (L,) of `label_weights`; None: all labels count alike.

    Returns:
        (B, L); -inf for labels that are known, may not be asked about, or are not on the shortlist.

    >>> import tagformer, torch
    >>> from tagformer.tagging import expected_information_gain
    >>> model = tagformer.create_model("ctran", ["boat", "dog", "sea"], "tiny", width=16).eval()
    >>> known = torch.tensor([[1, -1, -1]], dtype=torch.int8)
    >>> gain = expected_information_gain(model, model.encode(torch.zeros(1, 3, 32, 32)), known)
    >>> torch.isfinite(gain)
    tensor([[False,  True,  True]])
    """
    device, count = known.device, known.shape[1]
    weights = torch.ones(count, device=device) if weights is None else weights.to(device)

    def probabilities(rows: Tensor, states: Tensor) -> Tensor:
        decoded = [
            torch.sigmoid(model.decode(features[chunk], chunk_states).logits.float() / temperature)
            for chunk, chunk_states in zip(rows.split(DECODED), states.split(DECODED), strict=True)
        ]
        return torch.cat(decoded)

    before = probabilities(torch.arange(len(features), device=device), known)
    entropy = entropy_bits(before)
    candidates = known == UNKNOWN if askable is None else askable & (known == UNKNOWN)
    ranked, columns = (entropy * weights).masked_fill(~candidates, -1.0).topk(min(shortlist or count, count), dim=1)
    row, place = torch.nonzero(ranked >= 0, as_tuple=True)  # Q questions: the image and the label of each
    column, question = columns[row, place], torch.arange(len(row), device=device)
    gain = torch.full(known.shape, -torch.inf, device=device)
    if not len(row):
        return gain
    mean = torch.zeros(len(row), count, device=device)  # (Q, L), m_i
    entropy_left = torch.zeros_like(mean)
    for state in (PRESENT, ABSENT):
        answered = known[row].clone()
        answered[question, column] = state
        chance = before[row, column] if state == PRESENT else 1 - before[row, column]
        after = probabilities(row, answered)
        mean += chance[:, None] * after
        entropy_left += chance[:, None] * entropy_bits(after)
    information = (entropy_bits(mean.clamp(max=1)) - entropy_left) * (known[row] == UNKNOWN)  # I(i; j)
    information[question, column] = entropy[row, column]
    gain[row, column] = (information * weights * model.label_space.is_target.to(device)).sum(1)
    return gain
