"""Feedback propagation: known labels for every model, by gradient steps on its features (Wang et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tagformer.labels.space import UNKNOWN
from tagformer.losses import binary_cross_entropy
from tagformer.models.base import ModelOutput, MultiLabelModel


class FeedbackPropagation(MultiLabelModel):
    """A model that was trained without known labels, made to listen to them when it is used.

    The features f of an image get a residual r, which starts at zero and follows the gradient of the known labels'
    loss: r <- r - rate * var(f) * dBCE(decode(f + r), known) / dr, a few times. What makes the known labels come out
    right moves the others along. The variance, of each image's own features, makes the rate mean the same for every
    model. The weights stay as they are, and so does what the model says where nothing is known.

    Args:
        model: any model; what it may itself do with known labels is not used.
        steps: how many.
        rate: of a step, in units of the features' variance.
    """

    uses_known = True

    def __init__(self, model: MultiLabelModel, steps: int = 10, rate: float = 0.1) -> None:
        nn.Module.__init__(self)
        self.model = model
        self.label_space, self.backbone = model.label_space, model.backbone
        self.uses_image = model.uses_image
        self.steps, self.rate = steps, rate

    @property
    def output_bias(self) -> nn.Parameter:
        return self.model.output_bias

    def encode(self, images: Tensor) -> Tensor:
        """As the model's own."""
        return self.model.encode(images)

    def last_map(self, images: Tensor) -> Tensor:
        """As the model's own."""
        return self.model.last_map(images)

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """As the model's own, with nothing known."""
        return self.model.heat_maps(images, labels)

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Features (B, ...) and known labels (B or 1, L) to logits (B, L)."""
        if known is None or (known == UNKNOWN).all() or not features[0].numel():
            return self.model.decode(features)
        with torch.inference_mode(False), torch.enable_grad():
            start = features.detach().clone().float()
            known = known.expand(len(features), -1).clone()
            size = start.flatten(1).var(1, correction=0).reshape(-1, *[1] * (start.ndim - 1))
            residual = torch.zeros_like(start).requires_grad_()
            for _ in range(self.steps):
                logits = self.model.decode(start + residual).logits
                loss = binary_cross_entropy(logits, known, reduction="sum")
                (slope,) = torch.autograd.grad(loss, residual)
                residual = (residual - self.rate * size * slope).detach().requires_grad_()
            logits = self.model.decode(start + residual).logits.detach()
        return ModelOutput(logits)
