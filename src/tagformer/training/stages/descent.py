"""What the trainings of the stages share: AdamW with one cycle, whose averaged weights are the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tagformer.labels.masking import draw_training_known, without_known
from tagformer.labels.space import UNKNOWN, LabelSpace, without_extra
from tagformer.losses import binary_cross_entropy

WARMUP = 0.1  # share of the steps
AVERAGE = 0.99  # decay of the averaged weights, once there are enough steps


@dataclass(frozen=True, kw_only=True)
class DecoderTraining:
    """What the trainings of co-occurrence and encoder, the two parts that read known labels, have in common.

    Attributes:
        batch_size: images per step.
        min_unknown, masking: which labels are known, see `draw_training_known`; no masking: none is ever known.
        seed: of every draw.

    >>> DecoderTraining(masking=()).draw_known(torch.ones(1, 2, dtype=torch.int8), LabelSpace(("cat", "dog")))
    tensor([[-1, -1]], dtype=torch.int8)
    """

    batch_size: int = 32
    min_unknown: float = 0.5
    masking: tuple[str, ...] = ("labels",)
    seed: int = 0

    def draw_known(self, labels: Tensor, label_space: LabelSpace) -> Tensor:
        """Draw the known ones of the labels int8 (B, L)."""
        if not self.masking:
            return torch.full_like(labels, UNKNOWN)
        return draw_training_known(labels, label_space, self.masking, self.min_unknown)


def loss_of_unknown(logits: Tensor, labels: Tensor, known: Tensor, label_space: LabelSpace) -> Tensor:
    """The mean binary cross-entropy of logits (B, L) over the labels that are not known, extra ones left out.

    >>> labels, known = torch.tensor([[1, 1]], dtype=torch.int8), torch.tensor([[-1, 1]], dtype=torch.int8)
    >>> loss_of_unknown(torch.tensor([[0.0, 9.0]]), labels, known, LabelSpace(("cat", "dog")))
    tensor(0.6931)
    """
    return binary_cross_entropy(logits, without_extra(without_known(labels, known), label_space), reduction="mean")


def descend(
    optimizer: torch.optim.AdamW,
    loss: Callable[[Tensor], Tensor],
    rows: Tensor,
    steps: int,
    batch_size: int,
    progress: Callable[[int], None] = lambda step: None,
    *,
    generator: torch.Generator | None = None,
    largest_norm: float | None = None,
) -> None:
    """Train with one cycle of the optimizer's learning rate; at the end the parameters are averages of the steps'.

    Args:
        optimizer: of the parameters.
        loss: of a batch of rows.
        rows: of the images, int64.
        steps: how many.
        batch_size: images per step.
        progress: called with the number of steps done.
        generator: of the order of the rows; None: torch's own.
        largest_norm: of the gradient.

    >>> weight = torch.zeros(1, requires_grad=True)
    >>> descend(torch.optim.AdamW([weight], lr=0.1), lambda rows: (weight - 1).square().sum(), torch.arange(4), 100, 2)
    >>> bool((weight - 1).abs() < 0.1)
    True
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    averaged = [parameter.detach().clone() for parameter in parameters]
    rate = optimizer.param_groups[0]["lr"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=WARMUP)
    for step, batch in enumerate(_batches(rows, steps, batch_size, generator)):
        optimizer.zero_grad()
        loss(batch).backward()
        if largest_norm is not None:
            nn.utils.clip_grad_norm_(parameters, largest_norm)
        optimizer.step()
        schedule.step()
        update_averages(averaged, parameters, step)
        progress(step + 1)
    with torch.no_grad():
        for average, parameter in zip(averaged, parameters, strict=True):
            parameter.copy_(average)


def update_averages(averaged: Sequence[Tensor], parameters: Sequence[Tensor], step: int) -> None:
    """Move averaged weights towards the weights of a step; the first steps count little in the end.

    Args:
        averaged: changed.
        parameters: of the same shapes.
        step: counted from 0; the decay is the smaller of 0.99 and (1 + step) / (10 + step).

    >>> average = torch.zeros(1)
    >>> update_averages([average], [torch.ones(1)], step=0)
    >>> average
    tensor([0.9000])
    """
    get_ema_multi_avg_fn(min(AVERAGE, (1 + step) / (10 + step)))(list(averaged), list(parameters), step)


def _batches(rows: Tensor, steps: int, size: int, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Batches of rows, in a new random order for each epoch."""
    done = 0
    while done < steps:
        for batch in rows[torch.randperm(len(rows), generator=generator)].split(size):
            if done == steps:
                return
            yield batch
            done += 1
