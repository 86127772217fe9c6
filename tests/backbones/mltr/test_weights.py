"""Weights for MlTr from a Swin transformer, and from an MlTr for another image size."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from tagformer.backbones import create_backbone
from tagformer.backbones.mltr.weights import load_state, resized
from tagformer.errors import TagformerError


@pytest.fixture(scope="module")
def swin() -> torch.nn.Module:
    torch.manual_seed(0)
    model = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, num_classes=5).eval()
    for name, parameter in model.named_parameters():  # biases and norms that are not 0 and 1
        if parameter.ndim == 1 or "table" in name:
            torch.nn.init.normal_(parameter, 1.0 if "norm" in name and "weight" in name else 0.0, 0.2)
    return model


@torch.no_grad()
def test_with_weights_of_a_swin_transformer_it_computes_the_same(swin: torch.nn.Module, tmp_path: Path) -> None:
    save_file(swin.state_dict(), tmp_path / "swin.safetensors")
    backbone = create_backbone("mltr_s", weights=tmp_path / "swin.safetensors").eval()
    images = torch.randn(1, 3, 224, 224)
    expected = swin.forward_features(images).permute(0, 3, 1, 2)
    torch.testing.assert_close(backbone(images)[-1], expected, rtol=0, atol=1e-4)
    with_token, _ = backbone.forward_with_token(images, torch.randn(768))
    torch.testing.assert_close(with_token[-1], expected, rtol=0, atol=1e-4)
    intermediate = swin.forward_intermediates(images, intermediates_only=True)
    for ours, theirs in zip(backbone(images)[:3], intermediate, strict=False):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_cross_window_blocks_that_start_as_the_identity_have_gradients(swin: torch.nn.Module) -> None:
    backbone = create_backbone("mltr_s", pretrained=False)
    load_state(backbone, swin.state_dict(), "swin")
    backbone(torch.randn(1, 3, 224, 224))[-1].square().mean().backward()
    block = backbone.stages[0][2]
    assert block.attention.proj.weight.grad.abs().max() > 0
    assert block.mlp.fc2.weight.grad.abs().max() > 0


def test_weights_that_do_not_fit_are_rejected(swin: torch.nn.Module, tmp_path: Path) -> None:
    state = swin.state_dict()
    with pytest.raises(TagformerError, match=r"it lacks 'stages\.2"):
        create_backbone("mltr_m", weights=_saved(state, tmp_path / "a.safetensors"))
    wide = {**state, "norm.weight": torch.ones(5)}
    with pytest.raises(TagformerError, match=r"'norm.weight' is \(5,\), not \(768,\)"):
        create_backbone("mltr_s", weights=_saved(wide, tmp_path / "b.safetensors"))
    for width in (64, 128):  # projections of other widths are not grids of positions
        options = {"width": width, "pretrained": False}
        with pytest.raises(TagformerError, match="does not fit"):
            load_state(create_backbone("mltr_s", **options), state, "swin")
    small = timm.create_model("swin_small_patch4_window7_224", pretrained=False, num_classes=0)
    with pytest.raises(TagformerError, match=r"no block for its 'layers\.2\.blocks\.6\."):
        load_state(create_backbone("mltr_s", pretrained=False), small.state_dict(), "swin")
    plain = create_backbone("mltr_tiny", pretrained=False, cross_window="window")
    with pytest.raises(TagformerError, match="does not fit"):
        load_state(create_backbone("mltr_tiny", pretrained=False), plain.state_dict(), "another")
    (tmp_path / "c.pth").write_text("no weights")
    with pytest.raises(TagformerError, match="cannot be read"):
        create_backbone("mltr_s", weights=tmp_path / "c.pth")
    with pytest.raises(TagformerError, match="no pretrained weights for 'mltr_tiny'"):
        create_backbone("mltr_tiny", pretrained=True)


def _saved(state: dict[str, Tensor], file: Path) -> Path:
    save_file(state, file)
    return file


@torch.no_grad()
def test_weights_move_between_image_sizes(tmp_path: Path) -> None:
    """Constant biases stay constant, and projections that take the mean still take the mean."""
    small = create_backbone("mltr_tiny", pretrained=False)
    for name, weight in small.named_parameters():
        if name.endswith("attention.table.weight"):
            weight.copy_(torch.arange(weight.shape[1]).expand_as(weight))
        elif ".2.attention." in name:  # the cross-window blocks'
            weight.fill_(1 / 9 if weight.ndim == 2 else 0.5)
    file = _saved(dict(small.state_dict()), tmp_path / "small.safetensors")
    large = create_backbone("mltr_tiny", weights=file, image_size=192)
    state = dict(large.named_parameters())
    torch.testing.assert_close(
        state["stages.1.0.attention.table.weight"], torch.arange(2.0).expand(121, 2), rtol=1e-5, atol=1e-5
    )
    attention = large.stages[0][2].attention
    assert attention.qkv.weight.shape == (3 * 36, 36)
    values = torch.randn(1, 36)
    for layer in (attention.proj, torch.nn.Linear(36, 36)):
        if layer is not attention.proj:
            layer.weight, layer.bias = (torch.nn.Parameter(p[-36:]) for p in (attention.qkv.weight, attention.qkv.bias))
        torch.testing.assert_close(layer(values), (values.mean() + 0.5).expand(1, 36), rtol=1e-5, atol=1e-5)
    again = create_backbone("mltr_tiny", weights=file)
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, small.state_dict()[name])


@pytest.mark.parametrize(("old", "new"), [(4, 8), (7, 12), (12, 7)])
def test_a_projection_does_the_same_on_a_resized_grid(old: int, new: int) -> None:
    """A projection that blurs to the right does the same on a finer or coarser grid, for a smooth image."""

    def smooth(side: int) -> Tensor:
        across = (torch.arange(side) + 0.5) / side
        return (1 + across[:, None] + 2 * across[None, :] ** 2).flatten()

    def kernel(side: int) -> Tensor:  # output (row, column) from input (row, column): smooth in all four
        places = torch.stack(torch.meshgrid(*[(torch.arange(side) + 0.5) / side] * 2, indexing="ij"), -1).flatten(0, 1)
        down, across = (places[:, None, axis] - places[None, :, axis] for axis in (0, 1))
        return torch.exp(-4 * down**2 - 3 * (across - 0.3) ** 2) / side**2

    def distance(one: Tensor, other: Tensor) -> float:
        return ((one - other).norm() / other.norm()).item()

    moved = resized(kernel(old), torch.empty(new**2, new**2), "stages.0.2.attention.proj.weight")
    assert distance(moved @ smooth(new), kernel(new) @ smooth(new)) < 0.08
    turned = kernel(old).T.contiguous()
    three = torch.cat([kernel(old), turned, 0 * turned])
    tripled = resized(three, torch.empty(3 * new**2, new**2), "stages.0.2.attention.qkv.weight").chunk(3)
    torch.testing.assert_close(tripled[0], moved)
    assert distance(tripled[1] @ smooth(new), kernel(new).T @ smooth(new)) < 0.08
    assert not tripled[2].any()
    assert distance(kernel(new).T @ smooth(new), kernel(new) @ smooth(new)) > 0.2
