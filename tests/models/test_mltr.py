"""MlTr: sizes, weights from a Swin transformer and from other image sizes, the classifier, the count."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from tagformer.backbones import MlTrBackbone, create_backbone
from tagformer.backbones.mltr.weights import load_state, resized
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.losses import count_loss
from tagformer.models import create_model


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "millions", "printed"), [("mltr_s", 32.8, 33), ("mltr_m", 62.2, 62), ("mltr_l", 109.6, 108)]
)
def test_parameters_are_those_of_table_2(name: str, millions: float, printed: float) -> None:
    model = create_model("mltr", 80, name, pretrained=False)
    assert round(parameters(model) / 1e6, 1) == millions
    assert abs(parameters(model) / 1e6 / printed - 1) < 0.02


def test_the_maps_have_strides_4_to_32_and_doubling_channels() -> None:
    backbone = create_backbone("mltr_s", pretrained=False, image_size=64)
    maps = backbone(torch.zeros(2, 3, 64, 64))
    assert [tuple(each.shape[1:]) for each in maps] == [(96, 16, 16), (192, 8, 8), (384, 4, 4), (768, 2, 2)]
    assert backbone.channels == (96, 192, 384, 768)
    assert backbone.strides == (4, 8, 16, 32)


@torch.no_grad()
@pytest.mark.parametrize("third", ["attention", "window"])
def test_a_new_network_starts_as_the_one_without_third_blocks(third: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone("mltr_tiny", pretrained=False, cross_window=third).eval()
    without = create_backbone("mltr_tiny", pretrained=False, cross_window="none").eval()
    without.load_state_dict(backbone.state_dict(), strict=False)  # blocks have the same places but for the thirds
    images = torch.randn(2, 3, 96, 96)
    for one, other in zip(backbone(images), without(images), strict=True):
        assert torch.equal(one, other)
    assert sum(block.third for block in backbone.blocks()) == 3
    assert not any(block.third for block in without.blocks())


def kinds(**options: object) -> list[list[str]]:
    """The blocks of the small variant: w(indow), s(hifted), c(ross-window)."""
    backbone = create_backbone("mltr_tiny", pretrained=False, **options)
    assert isinstance(backbone, MlTrBackbone)

    def letter(block: torch.nn.Module) -> str:
        attention = block.attention
        return "c" if not hasattr(attention, "shift") else "s" if attention.shift else "w"

    return [[letter(block) for block in stage] for stage in backbone.stages]


def test_every_part_can_be_left_out() -> None:
    assert kinds() == [["w", "s", "c"]] * 3 + [["w", "w"]]  # the last stage is one window
    assert kinds(shift=False) == [["w", "w", "c"]] * 3 + [["w", "w"]]
    assert kinds(cross_window="none") == [["w", "s"]] * 3 + [["w", "w"]]
    assert kinds(cross_window="window") == [["w", "s", "w"]] * 3 + [["w", "w"]]
    with_bias = create_backbone("mltr_tiny", pretrained=False)
    without = create_backbone("mltr_tiny", pretrained=False, positions=False)
    assert [n for n, _ in with_bias.named_parameters() if "table" in n]
    assert not [n for n, _ in without.named_parameters() if "table" in n]


@pytest.fixture(scope="module")
def swin() -> torch.nn.Module:
    torch.manual_seed(0)
    model = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, num_classes=5).eval()
    for name, parameter in model.named_parameters():  # biases and norms that are not 0 and 1
        if parameter.ndim == 1 or "table" in name:
            torch.nn.init.normal_(parameter, 1.0 if "norm" in name and "weight" in name else 0.0, 0.2)
    return model


@torch.no_grad()
def test_it_starts_as_the_swin_transformer_it_was_loaded_from(swin: torch.nn.Module, tmp_path: Path) -> None:
    save_file(swin.state_dict(), tmp_path / "swin.safetensors")
    backbone = create_backbone("mltr_s", weights=tmp_path / "swin.safetensors").eval()
    images = torch.randn(1, 3, 224, 224)
    expected = swin.forward_features(images).permute(0, 3, 1, 2)
    torch.testing.assert_close(backbone(images)[-1], expected, rtol=0, atol=1e-4)
    with_token, _ = backbone.with_token(images, torch.randn(768))
    torch.testing.assert_close(with_token[-1], expected, rtol=0, atol=1e-4)
    intermediate = swin.forward_intermediates(images, intermediates_only=True)
    for own, theirs in zip(backbone(images)[:3], intermediate, strict=False):
        torch.testing.assert_close(own, theirs, rtol=0, atol=1e-4)


def test_cross_window_blocks_that_begin_as_the_identity_learn(swin: torch.nn.Module) -> None:
    backbone = create_backbone("mltr_s", pretrained=False)
    load_state(backbone, swin.state_dict(), "swin")
    backbone(torch.randn(1, 3, 224, 224))[-1].square().mean().backward()
    block = backbone.stages[0][2]
    assert block.attention.proj.weight.grad.abs().max() > 0
    assert block.mlp.fc2.weight.grad.abs().max() > 0


def test_weights_that_do_not_fit_are_refused(swin: torch.nn.Module, tmp_path: Path) -> None:
    state = swin.state_dict()
    with pytest.raises(TagformerError, match=r"it lacks 'stages\.2"):
        create_backbone("mltr_m", weights=_saved(state, tmp_path / "a.safetensors"))
    wide = {**state, "norm.weight": torch.ones(5)}
    with pytest.raises(TagformerError, match=r"'norm.weight' is \(5,\), not \(768,\)"):
        create_backbone("mltr_s", weights=_saved(wide, tmp_path / "b.safetensors"))
    for width in (64, 128):  # projections of other widths are no grids of positions
        options = {"width": width, "pretrained": False}
        with pytest.raises(TagformerError, match="does not fit"):
            load_state(create_backbone("mltr_s", **options), state, "swin")
    small = timm.create_model("swin_small_patch4_window7_224", pretrained=False, num_classes=0)
    with pytest.raises(TagformerError, match=r"no place for its 'layers\.2\.blocks\.6\."):
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
    """Constant biases and projections that take the mean stay constant and go on taking the mean."""
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
    """A projection that blurs from the left to the right does so on a finer or coarser grid, on a smooth picture."""

    def smooth(side: int) -> Tensor:
        across = (torch.arange(side) + 0.5) / side
        return (1 + across[:, None] + 2 * across[None, :] ** 2).flatten()

    def kernel(side: int) -> Tensor:  # output (row, column) from input (row, column): smooth in all four
        places = torch.stack(torch.meshgrid(*[(torch.arange(side) + 0.5) / side] * 2, indexing="ij"), -1).flatten(0, 1)
        down, across = (places[:, None, axis] - places[None, :, axis] for axis in (0, 1))
        return torch.exp(-4 * down**2 - 3 * (across - 0.3) ** 2) / side**2

    def apart(one: Tensor, other: Tensor) -> float:
        return ((one - other).norm() / other.norm()).item()

    found = resized(kernel(old), torch.empty(new**2, new**2), "stages.0.2.attention.proj.weight")
    assert apart(found @ smooth(new), kernel(new) @ smooth(new)) < 0.08
    turned = kernel(old).T.contiguous()
    three = torch.cat([kernel(old), turned, 0 * turned])
    tripled = resized(three, torch.empty(3 * new**2, new**2), "stages.0.2.attention.qkv.weight").chunk(3)
    torch.testing.assert_close(tripled[0], found)
    assert apart(tripled[1] @ smooth(new), kernel(new).T @ smooth(new)) < 0.08
    assert not tripled[2].any()
    assert apart(kernel(new).T @ smooth(new), kernel(new) @ smooth(new)) > 0.2


def test_the_arc_sigmoid_is_the_scaled_cosine() -> None:
    model = create_model("mltr", 4, "mltr_tiny", pretrained=False, arc_sigmoid=8).eval()
    mean = torch.randn(3, 256)
    hidden = torch.nn.functional.gelu(model.hidden(mean))
    logits = model._logits(mean)
    for row in range(3):
        for label in range(4):
            weight = model.classifier.weight[label]
            cosine = hidden[row] @ weight / (hidden[row].norm() * weight.norm())
            torch.testing.assert_close(logits[row, label], 8 * cosine)
    assert logits.abs().max() <= 8
    with pytest.raises(TagformerError, match="arc sigmoid has no bias"):
        model.start_from_frequencies(torch.full((4,), 0.5))


def test_the_token_counts_the_target_labels() -> None:
    space = LabelSpace(("a", "b", "c"), extra=frozenset({"c"}))
    model = create_model("mltr", space, "mltr_tiny", pretrained=False).eval()
    images = torch.randn(2, 3, 96, 96)
    output = model(images)
    assert output.logits.shape == (2, 3)
    assert output.count_logits.shape == (2, 3)  # none, one or both of a and b
    plain = create_model("mltr", space, "mltr_tiny", pretrained=False, object_token=False).eval()
    assert plain(images).count_logits is None
    torch.nn.init.normal_(model.token, std=5.0)
    assert not torch.allclose(model(images).logits, output.logits)  # the positions hear the token


def test_the_count_loss_leaves_partly_annotated_images_out() -> None:
    logits = torch.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, 0.0], [9.0, 9.0, 9.0]])
    labels = torch.tensor([[1, 1], [0, 0], [1, -1]], dtype=torch.int8)
    first = -torch.log_softmax(torch.tensor([0.0, 1.0, 3.0]), 0)[2]
    second = -torch.log_softmax(torch.tensor([2.0, 0.0, 0.0]), 0)[0]
    torch.testing.assert_close(count_loss(logits, labels, reduction="none"), torch.stack([first, second, 0 * first]))
    torch.testing.assert_close(count_loss(logits, labels, reduction="sum"), first + second)
    torch.testing.assert_close(count_loss(logits, labels, reduction="batchmean"), (first + second) / 3)
    torch.testing.assert_close(count_loss(logits, labels, reduction="mean"), (first + second) / 2)
    assert count_loss(logits[2:], labels[2:], reduction="mean") == 0


def test_its_stages_serve_other_models() -> None:
    for name in ("linear", "ctran", "fpn", "cat"):
        model = create_model(name, 3, "mltr_tiny", pretrained=False, **({} if name == "linear" else {"width": 32}))
        assert model(torch.randn(2, 3, 96, 96)).logits.shape == (2, 3)
    with pytest.raises(TagformerError, match="its backbone must be an MlTr"):
        create_model("mltr", 3, "tiny")


def test_sizes_that_it_cannot_have_are_refused() -> None:
    with pytest.raises(TagformerError, match="100 pixels are no multiple of 32"):
        create_backbone("mltr_s", pretrained=False, image_size=100)
    with pytest.raises(TagformerError, match="width 40 is no multiple of 32"):
        create_backbone("mltr_tiny", pretrained=False, width=40)
    with pytest.raises(TagformerError, match="does not take these options"):
        create_backbone("mltr_tiny", pretrained=False, widht=32)
    for wrong in ({"patch": 0}, {"width": 0}, {"width": -32}, {"drop_path": 1.0}):
        with pytest.raises(TagformerError, match="must be above 0, and drop_path below 1"):
            create_backbone("mltr_tiny", pretrained=False, **wrong)
    with pytest.raises(TagformerError, match="built for images of 96 pixels"):
        create_backbone("mltr_tiny", pretrained=False)(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("maps", [1, 3, 4])
def test_freezing_keeps_the_weights_up_to_a_map(maps: int) -> None:
    backbone = create_backbone("mltr_tiny", pretrained=False)
    backbone.freeze(maps)
    found = backbone(torch.randn(1, 3, 96, 96))
    assert [each.requires_grad for each in found] == [False] * maps + [True] * (4 - maps)
