"""A small model of every kind, with random weights that are always the same."""

from __future__ import annotations

import torch

from tagformer.backbones import create_backbone
from tagformer.models import MultiLabelModel, create_model

SMALL = {"cat": {"width": 16, "heads": 2}, "ctran": {"width": 16}, "fpn": {"width": 16}, "linear": {}, "mltr": {}}


def small(name: str, **options: object) -> MultiLabelModel:
    torch.manual_seed(0)
    backbone = create_backbone("mltr_tiny", False, image_size=32, patch=2) if name == "mltr" else "tiny"
    return create_model(name, 4, backbone, **{**SMALL[name], **options}).eval()


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))
