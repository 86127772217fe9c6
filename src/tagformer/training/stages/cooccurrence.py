"""Training the co-occurrence of C-Tran on evidence: by how much a known label moves each other label's logit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tagformer.labels.space import UNKNOWN
from tagformer.models.evidence import Evidence
from tagformer.training.stages.descent import DecoderTraining, descend, loss_of_unknown

TRIED = 4  # one fold of so many is kept apart where deviations are compared
DRAWS, DRAWN_UNKNOWN = 4, 0.25  # draws of known labels for that, and the least share of unknown labels in them


@dataclass(frozen=True, kw_only=True)
class CooccurrenceTraining(DecoderTraining):
    """How the co-occurrence is trained.

    Attributes:
        steps: of AdamW with one cycle.
        lr: highest learning rate.
        strength: of the start, the log-ratios of the counts.

    >>> CooccurrenceTraining().steps
    1000
    """

    steps: int = 1000
    lr: float = 5e-3
    strength: float = 0.1


def fit_cooccurrence(
    model: Evidence,
    evidence_logits: Tensor,
    labels: Tensor,
    deviation: float,
    training: CooccurrenceTraining,
    progress: Callable[[int], None] = lambda step: None,
) -> None:
    """Train the co-occurrence weights of a model on out-of-fold evidence; all else stays as it is.

    This is a logistic regression of each label on its evidence, whose weight is one, and on the states of the known
    labels. Its weights have a Gaussian prior around 0, so that what a few images show of two rare labels counts little.
    With nothing known the logits are the evidence.

    Args:
        model: changed in place; it has co-occurrence weights.
        evidence_logits: out-of-fold logits (V, N, L) of V views of N images.
        labels: int8 (N, L) in {1, 0, -1}.
        deviation: of the prior.
        training: the steps.
        progress: called with the number of steps done.

    >>> from tagformer.models import create_model
    >>> model = create_model("evidence", ["beach", "sea"], "tiny", width=8, layers=0)
    >>> labels = torch.tensor([[1, 1], [0, 0]] * 50, dtype=torch.int8)  # the two are always together
    >>> fit_cooccurrence(model, torch.zeros(1, 100, 2), labels, 1.0, CooccurrenceTraining(steps=60))
    >>> with_beach, without = torch.tensor([[1, -1]], dtype=torch.int8), torch.tensor([[0, -1]], dtype=torch.int8)
    >>> bool(model.cooccurrence(with_beach)[0, 1] > 0 > model.cooccurrence(without)[0, 1])
    True
    """
    model.start_from_cooccurrence(labels, training.strength)
    effects = list(model.effects.values())
    annotated = max(1, int((labels != UNKNOWN).sum()))
    optimizer = torch.optim.AdamW(effects, training.lr, weight_decay=0.0, fused=True)

    def loss(batch: Tensor) -> Tensor:
        view = torch.randint(len(evidence_logits), (len(batch),))
        prior = sum((effect.square().sum() for effect in effects), torch.zeros(()))
        own = _loss(model, evidence_logits[view, batch], labels[batch], training)
        return own + prior / (2 * deviation**2 * annotated)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        descend(optimizer, loss, torch.arange(len(labels)), training.steps, training.batch_size, progress)


def choose_deviation(
    model: Evidence,
    evidence_logits: Tensor,
    labels: Tensor,
    apart: Tensor,
    deviations: Sequence[float],
    training: CooccurrenceTraining,
    progress: Callable[[int], None] = lambda step: None,
) -> float | None:
    """The deviation of the prior with the least loss on images kept apart; None where no co-occurrence has less.

    The loss is the mean over all unknown labels of all images: on some dozen images it says more than a mAP.

    Args:
        model: its co-occurrence weights are changed, and are 0 at the end.
        evidence_logits, labels: as of `fit_cooccurrence`.
        apart: bool (N,), the images to compare with.
        deviations: candidates.
        training: the steps.
        progress: called with the number of steps done, of all candidates.

    >>> from tagformer.models import create_model
    >>> model = create_model("evidence", ["beach", "sea"], "tiny", width=8, layers=0)
    >>> labels = torch.tensor([[1, 1], [0, 0]] * 50, dtype=torch.int8)
    >>> apart = torch.arange(100) % 4 == 0
    >>> options = CooccurrenceTraining(steps=60)
    >>> choose_deviation(model, torch.zeros(1, 100, 2), labels, apart, (0.01, 3.0), options)
    3.0
    """
    _forget(model)
    best, least = None, _loss_apart(model, evidence_logits[0, apart], labels[apart], training)
    for number, deviation in enumerate(deviations):
        done = number * training.steps
        fit_cooccurrence(
            model,
            evidence_logits[:, ~apart],
            labels[~apart],
            deviation,
            training,
            lambda step, done=done: progress(done + step),  # type: ignore[misc]
        )
        loss = _loss_apart(model, evidence_logits[0, apart], labels[apart], training)
        if loss < least:
            best, least = deviation, loss
    _forget(model)
    return best


def _forget(model: Evidence) -> None:
    with torch.no_grad():
        for effect in model.effects.values():
            effect.zero_()


def _loss(model: Evidence, evidence_logits: Tensor, labels: Tensor, training: CooccurrenceTraining) -> Tensor:
    """The mean binary cross-entropy over the unknown labels, with drawn known ones."""
    known = training.draw_known(labels, model.label_space)
    return loss_of_unknown(evidence_logits + model.cooccurrence(known), labels, known, model.label_space)


@torch.no_grad()
def _loss_apart(model: Evidence, evidence_logits: Tensor, labels: Tensor, training: CooccurrenceTraining) -> float:
    """The loss over some draws in which more labels are known than in training."""
    training = replace(training, min_unknown=DRAWN_UNKNOWN)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        return sum(_loss(model, evidence_logits, labels, training).item() for _ in range(DRAWS))
