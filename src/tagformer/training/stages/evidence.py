"""Training C-Tran's encoder on out-of-fold evidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tagformer.models.evidence import Evidence
from tagformer.training.stages.descent import DecoderTraining, descend, loss_of_unknown

CLIP = 1.0  # largest norm of the gradient


@dataclass(frozen=True, kw_only=True)
class EvidenceTraining(DecoderTraining):
    """How the encoder is trained.

    Attributes:
        epochs: over the images; more where that gives fewer than `min_steps` steps, fewer where more than `max_steps`.
        lr: highest learning rate of AdamW with one cycle.
        weight_decay: of the weights with two dimensions, except embeddings and co-occurrence.
        min_steps, max_steps: the least and the greatest number of steps.
        cooccurrence: train it further, too.

    >>> EvidenceTraining(epochs=20, batch_size=32).steps(images=1_000)
    640
    """

    epochs: int = 20
    lr: float = 2e-3
    weight_decay: float = 0.05
    min_steps: int = 300
    max_steps: int = 1000
    cooccurrence: bool = True

    def steps(self, images: int) -> int:
        """The number of steps for this many images."""
        return min(self.max_steps, max(self.min_steps, self.epochs * math.ceil(images / self.batch_size)))


def fit_evidence(
    model: Evidence,
    evidence_logits: Tensor,
    labels: Tensor,
    training: EvidenceTraining,
    progress: Callable[[int], None] = lambda step: None,
) -> None:
    """Train the encoder of a model on out-of-fold evidence; its classifier and its backbone stay as they are.

    Each step draws one view of each image and which labels are known
    (label mask training, C-Tran, section 3.3).

    Args:
        model: changed in place.
        evidence_logits: out-of-fold logits (V, N, L) of V views of N images.
        labels: int8 (N, L) in {1, 0, -1}.
        training: the steps.
        progress: called with the number of steps done.

    >>> from tagformer.models import create_model
    >>> model = create_model("evidence", ["beach", "sea"], "tiny", width=8)
    >>> labels = torch.tensor([[1, 1], [0, 0]] * 50, dtype=torch.int8)  # the two are always together
    >>> fit_evidence(model, torch.zeros(1, 100, 2), labels, EvidenceTraining(min_steps=60, epochs=1))
    >>> with_beach = torch.tensor([[1, -1]], dtype=torch.int8)
    >>> bool(model.decode(torch.zeros(1, 2), with_beach).logits[0, 1] > model.decode(torch.zeros(1, 2)).logits[0, 1])
    True
    """
    model.standardise_evidence(evidence_logits.flatten(0, 1))
    fixed = () if training.cooccurrence else model.effects
    named = {name: value for name, value in model.encoder_parameters() if name not in fixed}
    optimizer = torch.optim.AdamW(_groups(named, training.weight_decay), training.lr, fused=True)

    def loss(batch: Tensor) -> Tensor:
        view = torch.randint(len(evidence_logits), (len(batch),))
        known = training.draw_known(labels[batch], model.label_space)
        logits = model.decode(evidence_logits[view, batch], known).logits
        return loss_of_unknown(logits, labels[batch], known, model.label_space)

    count = len(labels)
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        steps = training.steps(count)
        descend(optimizer, loss, torch.arange(count), steps, training.batch_size, progress, largest_norm=CLIP)
    model.eval()


def aligned(evidence_logits: Tensor, folds: Tensor) -> Tensor:
    """Out-of-fold logits whose mean over each fold is the mean over all images, for each view and label.

    A head that has not seen a fold with two of the three positives of a label gives its images lower logits than the
    others: out-of-fold logits of rare labels are lower for positives. An encoder would learn that from them.

    Args:
        evidence_logits: (V, N, L) of V views of N images.
        folds: int64 (N,).

    >>> aligned(torch.tensor([[[1.0], [3.0], [-5.0], [-3.0]]]), torch.tensor([0, 0, 1, 1])).flatten().tolist()
    [-2.0, 0.0, -2.0, 0.0]
    """
    moved = evidence_logits + evidence_logits.mean(1, keepdim=True)
    for fold in folds.unique():
        moved[:, folds == fold] -= evidence_logits[:, folds == fold].mean(1, keepdim=True)
    return moved


def _groups(named: dict[str, nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Two groups of parameters: layers' weights, with weight decay, and embeddings, biases, norms and co-occurrence."""
    decayed = [parameter for name, parameter in named.items() if name.startswith("encoder.") and parameter.ndim > 1]
    others = [parameter for parameter in named.values() if not any(parameter is other for other in decayed)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
