"""A small model of every kind, with random weights that depend on the seed only."""

from __future__ import annotations

import torch

from tagformer.backbones import create_backbone
from tagformer.labels import UNKNOWN, LabelSpace
from tagformer.models import MultiLabelModel, create_model

LABELS = 4
SMALL = {
    "cat": {"width": 16, "heads": 2},
    "csra": {},
    "ctran": {"width": 16},
    "evidence": {"width": 16},
    "fpn": {"width": 16},
    "linear": {},
    "ml_decoder": {"width": 16, "heads": 2, "feedforward": 24},
    "mltr": {},
    "query2label": {"width": 16, "heads": 2},
}


def small(name: str, labels: int | LabelSpace = LABELS, seed: int = 0, **options: object) -> MultiLabelModel:
    """A model for images of 32 pixels, in evaluation mode."""
    torch.manual_seed(seed)
    backbone = create_backbone("mltr_tiny", False, image_size=32, patch=2) if name == "mltr" else "tiny"
    return create_model(name, labels, backbone, **{**SMALL.get(name, {}), **options}).eval()


@torch.no_grad()
def randomise_vectors(model: MultiLabelModel) -> None:
    """Give the biases and norms outside the backbone random values, so that a reference can forget none of them."""
    for name, weight in model.named_parameters():
        if not name.startswith("backbone.") and weight.ndim == 1:
            weight.normal_(0.5, 0.3)


def images(count: int = 2) -> torch.Tensor:
    """Normalised images (count, 3, 32, 32)."""
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def some_known(count: int = 2, labels: int = LABELS) -> torch.Tensor:
    """Random states, int8 (count, labels)."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(-1, 2, (count, labels), generator=generator).to(torch.int8)


def nothing_known(count: int = 2, labels: int = LABELS) -> torch.Tensor:
    """All labels unknown, int8 (count, labels)."""
    return torch.full((count, labels), UNKNOWN, dtype=torch.int8)
