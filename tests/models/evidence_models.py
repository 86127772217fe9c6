"""Small models on evidence: untrained, and with random values where they are zero or one before training."""

from __future__ import annotations

import torch

from tagformer.models import MultiLabelModel
from tagformer.models.evidence import Evidence
from tests.small_models import LABELS, images, small


@torch.no_grad()
def trained(model: MultiLabelModel, seed: int = 0) -> Evidence:
    """The model with random values in the place of those that are zero or one before training."""
    assert isinstance(model, Evidence)
    generator = torch.Generator().manual_seed(seed)
    for weight in (model.correction_weight, model.correction_bias, model.present_effect, model.absent_effect):
        if weight is not None:
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    model.gain.copy_(1 + 0.3 * torch.rand(model.gain.shape, generator=generator))
    model.evidence_mean.copy_(torch.randn(model.gain.shape, generator=generator))
    model.evidence_deviation.copy_(0.5 + torch.rand(model.gain.shape, generator=generator))
    return model


@torch.no_grad()
def standardised(model: MultiLabelModel) -> Evidence:
    """The model with standardised channels, without which the images hardly differ for a backbone with random weights.

    Its classifier is not small any more, so that the positions differ too.
    """
    assert isinstance(model, Evidence)
    last = model.backbone(images(8))[-1]
    model.standardised.fit(last.mean((0, 2, 3)), last.std((0, 2, 3)))  # type: ignore[operator]
    model.classifier_weight.mul_(5)
    return model


def evidence(labels: int = LABELS, **options: object) -> Evidence:
    """A small model, untrained."""
    return standardised(small("evidence", labels, **options))
