"""Feedback propagation: every model can use known labels, by gradient steps on its features (Wang et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tagformer.labels.space import UNKNOWN
from tagformer.losses import binary_cross_entropy
from tagformer.models.base import ModelOutput, MultiLabelModel


class FeedbackPropagation(MultiLabelModel):
    """A wrapper that lets a model trained without known labels use them at inference (Wang et al., CVPR 2018).

    The features f of an image get a residual r. It starts at zero and takes a few gradient steps on the loss of the
    known labels: r <- r - rate * var(f) * dBCE(decode(f + r), known) / dr. The steps correct the known labels, and the
    logits of related labels change with them. The variance is that of the features of each image, so that a rate means
    the same for every model. Weights do not change, and neither do the logits of images without known labels.

    Args:
        model: any model; if it uses known labels itself, that is switched off.
        steps: number of gradient steps.
        rate: size of a step, in units of the variance of the features.

    >>> from tagformer import create_model
    >>> model = FeedbackPropagation(create_model("linear", labels=2, backbone="tiny").eval())
    >>> features = model.encode(torch.randn(1, 3, 64, 64))
    >>> known = torch.tensor([[1, -1]], dtype=torch.int8)  # the first label is present
    >>> bool(model.decode(features, known).logits[0, 0] > model.decode(features).logits[0, 0])
    True
    """

    uses_known = True

    def __init__(self, model: MultiLabelModel, steps: int = 10, rate: float = 0.1) -> None:
        nn.Module.__init__(self)
        self.model = model
        self.label_space, self.backbone = model.label_space, model.backbone
        self.uses_image, self.maps_read = model.uses_image, model.maps_read
        self.steps, self.rate = steps, rate

    @property
    def output_bias(self) -> nn.Parameter:
        return self.model.output_bias

    def encode(self, images: Tensor) -> Tensor:
        """The features of the model."""
        return self.model.encode(images)

    def encode_maps(self, maps: Sequence[Tensor]) -> Tensor:
        """The features of the model, from the maps of its backbone."""
        return self.model.encode_maps(maps)

    @property
    def encodes_maps(self) -> bool:
        """Whether the features of the model depend on the feature maps alone."""
        return self.model.encodes_maps

    def last_map(self, images: Tensor) -> Tensor:
        """The last map of the model."""
        return self.model.last_map(images)

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """The heat maps of the model without known labels."""
        return self.model.heat_maps(images, labels)

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Features (B, ...) and known labels (B or 1, L) to logits (B, L)."""
        if known is None or (known == UNKNOWN).all() or not features[0].numel():
            return self.model.decode(features)
        with torch.inference_mode(False), torch.enable_grad():
            start = features.detach().clone().float()
            known = known.expand(len(features), -1).clone()
            variance = start.flatten(1).var(1, correction=0).reshape(-1, *[1] * (start.ndim - 1))  # (B, 1, ..)
            residual = torch.zeros_like(start).requires_grad_()
            for _ in range(self.steps):
                logits = self.model.decode(start + residual).logits
                loss = binary_cross_entropy(logits, known, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, residual)
                residual = (residual - self.rate * variance * gradient).detach().requires_grad_()
            logits = self.model.decode(start + residual).logits.detach()
        return ModelOutput(logits)
