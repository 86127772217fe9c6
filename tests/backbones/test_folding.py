"""Batch norms folded into convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tagformer.backbones import Backbone, batch_norms, create_backbone
from tagformer.backbones.folding import fold_batch_norms


def with_statistics(backbone: Backbone) -> Backbone:
    """The backbone in evaluation mode, its norms as if they had been trained."""
    torch.manual_seed(1)
    for norm in batch_norms(backbone):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.2)
    return backbone.eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "left"), [("tiny", 0), ("resnet18", 0), ("mobilenetv2_100", 0), ("mobilenetv3_small_100", 0)]
)
def test_the_maps_stay_and_the_norms_go(name: str, left: int) -> None:
    backbone = with_statistics(create_backbone(name, pretrained=False))
    images = torch.randn(2, 3, 96, 96)
    before = backbone(images)
    fold_batch_norms(backbone, 64)
    assert len(list(batch_norms(backbone))) == left
    for old, new in zip(before, backbone(images), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4 * old.abs().max().item())


@torch.no_grad()
def test_norms_that_follow_no_convolution_stay() -> None:
    """DenseNet's blocks begin with a norm over what several layers gave."""
    backbone = with_statistics(create_backbone("densenet121", pretrained=False))
    images, count = torch.randn(1, 3, 64, 64), len(list(batch_norms(backbone)))
    before = backbone(images)
    fold_batch_norms(backbone, 64)
    assert 0 < len(list(batch_norms(backbone))) < count
    for old, new in zip(before, backbone(images), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4 * old.abs().max().item())


class Used(Backbone):
    """A convolution whose output goes round its norm too."""

    channels, strides = (4,), (1,)

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.convolution(images)
        return (self.norm(found) + found,)


class Twice(Used):
    """One norm for two calls of a convolution."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.norm(self.convolution(images)) + self.norm(self.convolution(images.flip(3))),)


@torch.no_grad()
@pytest.mark.parametrize("kind", [Used, Twice])
def test_where_folding_would_change_the_maps_nothing_is_folded(kind: type[Used]) -> None:
    backbone = with_statistics(kind())
    images = torch.randn(2, 3, 8, 8)
    before = backbone(images)[0]
    fold_batch_norms(backbone, 8)
    assert isinstance(backbone.norm, nn.BatchNorm2d)
    assert torch.equal(backbone(images)[0], before)
