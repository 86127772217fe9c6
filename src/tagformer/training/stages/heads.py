"""CSRA heads on remembered features: all folds and all candidate settings are trained side by side.

The heads of all folds read the same features, so training one for each fold costs little more than training one. The
same holds for candidate settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tagformer.features.remembered import RememberedFeatures
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.models.layers.standardised import SMALLEST_DEVIATION
from tagformer.training.stages.descent import descend
from tagformer.training.stages.folds import folds_seen

STATISTICS = 512  # images from which the mean and the deviation of the channels are computed


@dataclass(frozen=True)
class HeadSetting:
    """A candidate setting of the head.

    Attributes:
        weight: lambda of CSRA, the weight of the maximum beside the mean.
        decay: weight decay.

    >>> HeadSetting(weight=0.5, decay=5.0)
    HeadSetting(weight=0.5, decay=5.0)
    """

    weight: float
    decay: float


@dataclass(frozen=True)
class HeadTraining:
    """How heads are trained.

    Attributes:
        epochs: over the images; more where that gives fewer than `min_steps` steps.
        batch_size: images per step.
        lr: highest learning rate of AdamW with one cycle.
        min_steps: the least number of steps.
        seed: of the order of the images and of the choice of views.

    >>> HeadTraining(epochs=8, batch_size=32).steps(images=2_500)
    632
    """

    epochs: int = 8
    batch_size: int = 32
    lr: float = 1e-3
    min_steps: int = 300
    seed: int = 0

    def steps(self, images: int) -> int:
        """The number of steps for this many images."""
        return max(self.min_steps, self.epochs * math.ceil(images / self.batch_size))


class Heads:
    """The heads of S settings, H of each; every head has not seen some of the K folds.

    The logits of a head are those of a CSRA with one head that takes the maximum, on standardised channels.

    Args:
        settings, folds, seen, mean, deviation: the attributes.
        bias: where the biases start, (H, L), or (L,) for all heads; the weights start at 0.

    Attributes:
        settings: S.
        folds: int64 (N,), the fold of each image, 0 to K - 1; negative for images that no head sees.
        seen: bool (H, K), whether a head (row) sees a fold (column).
        mean, deviation: (C,) of the channels; the heads are on standardised features.
        weight: (S, H, L, C).
        bias: (S, H, L).

    >>> from tagformer.training.stages.folds import folds_seen
    >>> folds, mean, deviation = torch.tensor([0, 1, 2]), torch.zeros(4), torch.ones(4)
    >>> heads = Heads([HeadSetting(0.9, 0.05)], folds, folds_seen(3), mean, deviation, bias=torch.zeros(2))
    >>> heads.logits(torch.zeros(5, 4, 7, 7)).shape  # 5 images, 1 setting, 3 heads, 2 labels
    torch.Size([5, 1, 3, 2])
    >>> heads.sees(torch.tensor([0])).tolist()  # the first head does not see the first image
    [[False, True, True]]
    """

    def __init__(
        self,
        settings: Sequence[HeadSetting],
        folds: Tensor,
        seen: Tensor,
        mean: Tensor,
        deviation: Tensor,
        bias: Tensor,
    ) -> None:
        self.settings, self.folds, self.seen = tuple(settings), folds, seen
        self.mean, self.deviation = mean, deviation
        shape = (len(settings), len(seen), bias.shape[-1])
        self.weight = torch.zeros(*shape, len(mean))
        self.bias = bias.expand(shape).clone()
        self.maximum = torch.tensor([setting.weight for setting in settings])
        self.decay = torch.tensor([setting.decay for setting in settings])

    def logits(self, last_map: Tensor) -> Tensor:
        """The last map (B, C, h, w), of any float type, to logits (B, S, H, L)."""
        features = last_map.flatten(2).float()  # (B, C, P)
        weight = self.weight.flatten(0, 2)  # (S H L, C)
        if not self.maximum.any():  # the mean of logits is the logit of the mean
            pooled = (features.mean(2) - self.mean) / self.deviation
            return (pooled @ weight.T).view(len(features), *self.bias.shape) + self.bias
        scaled = weight / self.deviation  # standardising the weights is cheaper than standardising the maps
        bias = self.bias - (scaled @ self.mean).view(self.bias.shape)
        logits = scaled @ features.transpose(0, 1).flatten(1)  # one product, (S H L, B P)
        positions = logits.view(*self.bias.shape, *features.shape[::2])  # (S, H, L, B, P)
        maximum = self.maximum[:, None, None]
        pooled = positions.mean(4).movedim(3, 0) + maximum * positions.amax(4).movedim(3, 0)
        return pooled / (1 + maximum) + bias

    def sees(self, rows: Tensor) -> Tensor:
        """Whether each head sees each image, bool (B, H)."""
        folds = self.folds[rows]
        return self.seen[:, folds.clamp(min=0)].T & (folds >= 0).unsqueeze(1)

    def state(self, setting: int, heads: Sequence[int]) -> dict[str, Tensor]:
        """The weights of some heads of a setting, by their names in the models ``csra`` and ``evidence``."""
        merged = not self.maximum[setting]
        return head_state(self.mean, self.deviation, self.weight[setting], self.bias[setting], heads, merged)


def head_state(
    mean: Tensor, deviation: Tensor, weight: Tensor, bias: Tensor, which: Sequence[int], merged: bool
) -> dict[str, Tensor]:
    """The weights of some of H heads, by their names in the models ``csra`` and ``evidence``.

    Args:
        mean, deviation: (C,) of the channels.
        weight: (H, L, C).
        bias: (H, L).
        which: the numbers of the heads.
        merged: make one head of them. It has the mean of their logits if they use the mean over the positions alone.

    >>> arguments = torch.zeros(4), torch.ones(4), torch.zeros(3, 2, 4), torch.zeros(3, 2), [0, 2]
    >>> state = head_state(*arguments, merged=False)
    >>> state["classifier_weight"].shape, state["classifier_bias"].shape
    (torch.Size([2, 2, 4]), torch.Size([2]))
    >>> head_state(*arguments, merged=True)["classifier_weight"].shape
    torch.Size([1, 2, 4])
    """
    weight = weight[list(which)]
    return {
        "standardised.mean": mean,
        "standardised.deviation": deviation,
        "classifier_weight": weight.mean(0, keepdim=True) if merged else weight,
        "classifier_bias": bias[list(which)].mean(0),
    }


def fit_heads(
    features: RememberedFeatures,
    labels: Tensor,
    folds: Tensor,
    settings: Sequence[HeadSetting],
    training: HeadTraining,
    seen: Tensor | None = None,
    progress: Callable[[int], None] = lambda step: None,
) -> Heads:
    """Train the heads of all settings and folds with binary cross-entropy on remembered features.

    Args:
        features: of N images.
        labels: int8 (N, L) in {1, 0, -1}; unknown labels are not part of the loss.
        folds: int64 (N,); negative for images that no head shall see.
        settings: candidates.
        training: the steps.
        seen: bool (H, K), which of the folds each head sees; None: `folds_seen`.
        progress: called with the number of steps done.

    >>> from tagformer.features.segment import Segment
    >>> maps = torch.tensor([2.0, 1.0, -2.0, -1.0]).half().reshape(4, 1, 1, 1)  # of four images, with one channel
    >>> segment = Segment(("a", "b", "c", "d"), (maps,), 0)
    >>> features = RememberedFeatures(["plain"], ["a", "b", "c", "d"], [[segment]], [(1, 1, 1)], {})
    >>> labels, folds = torch.tensor([[1], [1], [0], [0]], dtype=torch.int8), torch.tensor([0, 1, 0, 1])
    >>> heads = fit_heads(features, labels, folds, [HeadSetting(0.0, 0.05)], HeadTraining())
    >>> heads.weight.shape  # 1 setting, 2 heads, 1 label, 1 channel
    torch.Size([1, 2, 1, 1])
    >>> (out_of_fold(heads, features)[0] > 0).flatten().tolist()
    [True, True, False, False]
    """
    seen = folds_seen(int(folds.max()) + 1) if seen is None else seen
    rows = torch.tensor(features.rows)
    rows = rows[folds[rows] >= 0]
    mean, deviation = channel_statistics(features, rows.tolist())
    heads = Heads(settings, folds, seen, mean, deviation, torch.logit(_frequencies(labels[rows], folds[rows], seen)))
    optimizer = torch.optim.AdamW(
        [heads.weight.requires_grad_(), heads.bias.requires_grad_()], training.lr, weight_decay=0.0, fused=True
    )
    optimizer.register_step_pre_hook(lambda *_: _decay(heads, optimizer.param_groups[0]["lr"]))
    generator = torch.Generator().manual_seed(training.seed)

    def loss(batch: Tensor) -> Tensor:
        views = torch.randint(len(features.views), (len(batch),), generator=generator)
        logits = heads.logits(features.maps(batch.numpy(), views)[-1])
        return _loss(logits, labels[batch], heads.sees(batch))

    descend(optimizer, loss, rows, training.steps(len(rows)), training.batch_size, progress, generator=generator)
    heads.weight, heads.bias = heads.weight.detach(), heads.bias.detach()
    return heads


@torch.no_grad()
def _decay(heads: Heads, rate: float) -> None:
    """AdamW's weight decay at a learning rate; each setting has its own."""
    heads.weight.mul_(1 - rate * heads.decay[:, None, None, None])


def _frequencies(labels: Tensor, folds: Tensor, seen: Tensor) -> Tensor:
    """The frequencies (H, L) of the labels in what each head sees; half an image is added to both states."""
    numbers = range(seen.shape[1])
    present = torch.stack([(labels[folds == fold] == PRESENT).sum(0) for fold in numbers])  # (K, L)
    known = torch.stack([(labels[folds == fold] != UNKNOWN).sum(0) for fold in numbers])
    return (seen.float() @ present.float() + 0.5) / (seen.float() @ known.float() + 1)


def channel_statistics(features: RememberedFeatures, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and deviation (C,) of the channels of the last map over the positions of at most about 512 of some images.

    >>> from tagformer.features.segment import Segment
    >>> segment = Segment(("a", "b"), (torch.tensor([1.0, 3.0]).half().reshape(2, 1, 1, 1),), 0)
    >>> features = RememberedFeatures(["plain"], ["a", "b"], [[segment]], [(1, 1, 1)], {})
    >>> channel_statistics(features, rows=[0, 1])
    (tensor([2.]), tensor([1.0010]))
    """
    some = rows[:: max(1, len(rows) // STATISTICS)]
    values = torch.cat([features.maps(part)[-1].float() for part in _parts(some)])
    return values.mean((0, 2, 3)), values.std((0, 2, 3), correction=0) + SMALLEST_DEVIATION


@torch.no_grad()
def out_of_fold(heads: Heads, features: RememberedFeatures, view: int = 0) -> Tensor:
    """The mean logits of every image by the heads that have not seen it, (S, N, L); 0 where there is none.

    Args:
        heads: of the same images.
        features: of N images.
        view: the number of the view.

    An example is at `fit_heads`.
    """
    logits = torch.zeros(len(heads.settings), len(heads.folds), heads.bias.shape[2])
    for part in _parts(features.rows):
        of_all = heads.logits(features.maps(part, view)[-1])  # (B, S, H, L)
        unseen = ~heads.sees(torch.tensor(part))[:, None, :, None]
        logits[:, part] = ((of_all * unseen).sum(2) / unseen.sum(2).clamp(min=1)).transpose(0, 1)
    return logits


def _parts(rows: Sequence[int], size: int = 64) -> Iterator[list[int]]:
    return (list(rows[start : start + size]) for start in range(0, len(rows), size))


def _loss(logits: Tensor, labels: Tensor, seen: Tensor) -> Tensor:
    """Binary cross-entropy of logits (B, S, H, L), summed over the heads; only images that a head sees (B, H) count."""
    targets = labels[:, None, None].expand(logits.shape)
    losses = F.binary_cross_entropy_with_logits(logits, (targets == PRESENT).float(), reduction="none")
    counted = ((targets == PRESENT) | (targets == ABSENT)) * seen[:, None, :, None]
    return ((losses * counted).sum((0, 3)) / counted.sum((0, 3)).clamp(min=1)).sum()
