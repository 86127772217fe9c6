"""The small network for the scenes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tagformer.backbones import TinyBackbone, create_backbone
from tagformer.errors import TagformerError


def test_the_maps_and_the_size_of_the_tiny_backbone() -> None:
    backbone = create_backbone("tiny")
    assert isinstance(backbone, TinyBackbone)
    for feature, channels, stride in zip(
        backbone(torch.zeros(2, 3, 64, 64)), backbone.channels, backbone.strides, strict=True
    ):
        assert feature.shape == (2, channels, 64 // stride, 64 // stride)
    assert sum(weight.numel() for weight in backbone.parameters()) == pytest.approx(0.29e6, rel=0.02)


def test_the_tiny_backbone_has_no_weights_to_load(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match="'tiny' has no weights to load"):
        create_backbone("tiny", weights=tmp_path / "weights.pth")
