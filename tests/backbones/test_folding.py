"""Batch norms folded into convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tagformer.backbones import Backbone, batch_norms, create_backbone, has_folded_norms
from tagformer.backbones.folding import fold_batch_norms


def with_statistics(backbone: Backbone) -> Backbone:
    """The backbone in evaluation mode, its norms with the statistics of a trained network."""
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
def test_folding_removes_norms_and_keeps_the_maps(name: str, left: int) -> None:
    backbone = with_statistics(create_backbone(name, pretrained=False))
    images = torch.randn(2, 3, 96, 96)
    before = backbone(images)
    fold_batch_norms(backbone, 64)
    assert len(list(batch_norms(backbone))) == left
    for old, new in zip(before, backbone(images), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4 * old.abs().max().item())


@torch.no_grad()
def test_norms_that_do_not_follow_a_convolution_stay() -> None:
    """DenseNet's blocks begin with a norm over the outputs of several layers."""
    backbone = with_statistics(create_backbone("densenet121", pretrained=False))
    images, count = torch.randn(1, 3, 64, 64), len(list(batch_norms(backbone)))
    before = backbone(images)
    fold_batch_norms(backbone, 64)
    assert 0 < len(list(batch_norms(backbone))) < count
    for old, new in zip(before, backbone(images), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4 * old.abs().max().item())


class Used(Backbone):
    """A convolution whose output is also added behind its norm."""

    channels, strides = (4,), (1,)

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        convolved = self.convolution(images)
        return (self.norm(convolved) + convolved,)


class Twice(Used):
    """One norm after two calls of a convolution."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.norm(self.convolution(images)) + self.norm(self.convolution(images.flip(3))),)


@torch.no_grad()
@pytest.mark.parametrize("kind", [Used, Twice])
def test_nothing_is_folded_if_the_maps_would_change(kind: type[Used]) -> None:
    backbone = with_statistics(kind())
    images = torch.randn(2, 3, 8, 8)
    before = backbone(images)[0]
    fold_batch_norms(backbone, 8)
    assert isinstance(backbone.norm, nn.BatchNorm2d)
    assert torch.equal(backbone(images)[0], before)


def test_norms_count_as_folded_if_they_are_the_identity_with_their_epsilon() -> None:
    norm = nn.BatchNorm2d(4, eps=1e-3)
    assert norm.running_var is not None
    norm.running_var.fill_(1 - 1e-3)
    pictures = torch.randn(2, 4, 3, 3)
    assert torch.allclose(norm.eval()(pictures), pictures, atol=1e-6)
    assert has_folded_norms(norm)
    norm.running_var.fill_(0.9)
    assert not has_folded_norms(norm)


def test_norms_count_as_folded_if_their_statistics_are_0_and_1() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    assert has_folded_norms(model)
    model(torch.randn(2, 3, 8, 8))
    assert not has_folded_norms(model)
    assert not has_folded_norms(nn.Conv2d(3, 4, 3))
