from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tagformer.backbones import TimmBackbone, TinyBackbone, create_backbone, has_folded_norms
from tagformer.errors import TagformerError

SMALL = "test_efficientnet"  # timm's own, 0.1 M weights


def images(size: int | tuple[int, int], count: int = 1) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def state_of(name: str, classes: int = 10, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a timm network with a classifier."""
    torch.manual_seed(seed)
    return timm.create_model(name, pretrained=False, num_classes=classes).state_dict()


def final_map(network: nn.Module, pictures: Tensor) -> Tensor:
    """timm's own last features as (B, C, h, w)."""
    features = network.forward_features(pictures)  # type: ignore[operator]
    if features.ndim == 3:
        tokens = features[:, network.num_prefix_tokens :]
        side = math.isqrt(tokens.shape[1])
        return tokens.transpose(1, 2).unflatten(2, (side, side))
    return features if features.shape[1] == network.num_features else features.permute(0, 3, 1, 2)


# The maps


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("resnet18", [64, (64, 96)]),
        ("mobilenetv2_100", [64, (64, 96)]),
        ("efficientnet_b0", [64, (64, 96)]),
        ("convnext_atto", [64, (64, 96)]),
        ("swin_tiny_patch4_window7_224", [224]),
        ("vit_tiny_patch16_224", [224]),
    ],
)
def test_channels_and_strides_are_those_of_the_maps(name: str, sizes: list[int | tuple[int, int]]) -> None:
    backbone = create_backbone(name, pretrained=False).eval()
    assert isinstance(backbone, TimmBackbone)
    assert list(backbone.strides) == sorted(backbone.strides)
    for size in sizes:
        pictures = images(size)
        with torch.no_grad():
            maps = backbone(pictures)
            expected = final_map(backbone.network, pictures)
        assert len(maps) == len(backbone.channels) == len(backbone.strides) <= 4
        for feature, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
            height, width = pictures.shape[-2:]
            assert feature.shape == (1, channels, height // stride, width // stride)
        torch.testing.assert_close(maps[-1], expected)


@pytest.mark.parametrize("name", ["tinynet_e", "inception_v3"])
def test_a_stride_is_that_of_the_network_where_it_does_not_divide_the_image(name: str) -> None:
    backbone = create_backbone(name, pretrained=False)
    assert isinstance(backbone, TimmBackbone)
    assert list(backbone.strides) == [entry["reduction"] for entry in backbone.network.feature_info[-4:]]


def test_a_network_without_one_last_map_is_refused() -> None:
    with pytest.raises(TagformerError, match="crossvit_tiny_240"):
        create_backbone("crossvit_tiny_240", pretrained=False)


def test_the_inner_maps_are_those_that_timm_extracts() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("resnet18", pretrained=False).eval()
    assert isinstance(backbone, TimmBackbone)
    plain = timm.create_model("resnet18", pretrained=False, features_only=True).eval()
    plain.load_state_dict(backbone.network.state_dict(), strict=False)
    pictures = images(64)
    with torch.no_grad():
        for ours, theirs in zip(backbone(pictures), plain(pictures)[-4:], strict=True):
            torch.testing.assert_close(ours, theirs)


def test_fewer_maps_can_be_asked_for() -> None:
    backbone = TimmBackbone("resnet18", pretrained=False, maps=2)
    assert (backbone.channels, backbone.strides) == ((256, 512), (16, 32))
    assert [feature.shape[1] for feature in backbone(images(64, 2))] == [256, 512]


def test_the_tiny_backbone_is_what_it_says() -> None:
    backbone = create_backbone("tiny")
    assert isinstance(backbone, TinyBackbone)
    for feature, channels, stride in zip(backbone(images(64, 2)), backbone.channels, backbone.strides, strict=True):
        assert feature.shape == (2, channels, 64 // stride, 64 // stride)
    assert sum(weight.numel() for weight in backbone.parameters()) == pytest.approx(0.29e6, rel=0.02)


def test_a_network_with_a_fixed_size_can_be_made_for_another() -> None:
    backbone = create_backbone("test_vit", pretrained=False, image_size=96)
    assert backbone.strides == (16,) * 4
    assert backbone(images(96))[-1].shape[-2:] == (6, 6)


def test_a_new_backbone_is_in_training_mode_with_fresh_norms() -> None:
    backbone = create_backbone(SMALL, pretrained=False)
    assert all(module.training for module in backbone.modules())
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert norm.running_mean is not None
        assert not norm.running_mean.any()


def test_options_reach_timm() -> None:
    backbone = create_backbone("resnet18", pretrained=False, output_stride=16)
    assert backbone.strides == (4, 8, 16, 16)


def test_mean_and_std_are_timms() -> None:
    for name in (SMALL, "test_vit"):
        backbone = create_backbone(name, pretrained=False)
        config = timm.get_pretrained_cfg(name)
        assert (backbone.mean, backbone.std) == (config.mean, config.std)
    assert create_backbone("test_vit", pretrained=False).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("maps", [1, 2, None])
@pytest.mark.parametrize("name", ["tiny", "resnet18", SMALL, "test_convnext", "test_vit"])
def test_freezing_keeps_the_weights_that_make_the_finest_maps(name: str, maps: int | None) -> None:
    backbone = create_backbone(name, pretrained=False).eval()
    size = 160 if name == "test_vit" else 64
    features = backbone(images(size))
    features[-1 if maps is None else maps - 1].square().sum().backward()
    within = {key for key, weight in backbone.named_parameters() if weight.grad is not None}
    backbone.freeze(maps)
    frozen = {key for key, weight in backbone.named_parameters() if not weight.requires_grad}
    assert within
    if maps is None:
        assert frozen == {key for key, _ in backbone.named_parameters()}
    else:
        assert frozen == within


# Names, options and downloads


def test_an_unknown_network_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(TagformerError, match=r"unknown backbone 'resnet5O' .did you mean 'resnet50"):
        create_backbone("resnet5O", pretrained=False)


def test_an_unknown_weights_tag_is_refused() -> None:
    with pytest.raises(TagformerError, match="nosuchtag"):
        create_backbone(f"{SMALL}.nosuchtag", pretrained=False)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TagformerError, match=r"'test_efficientnet' does not take these options: .*colour"):
        create_backbone(SMALL, pretrained=False, colour="red")


def test_weights_that_cannot_be_downloaded_are_an_error_and_no_random_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        assert pretrained
        raise OSError("cannot reach the hub\nwith details")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(TagformerError) as caught:
        create_backbone(SMALL)
    message = str(caught.value)
    assert "the pretrained weights of 'test_efficientnet' cannot be downloaded (cannot reach the hub)" in message
    assert "--weights FILE" in message


def test_a_network_without_published_weights_is_an_error_and_no_random_start() -> None:
    assert not timm.list_models("lcnet_035*", pretrained=True)
    with pytest.raises(TagformerError, match="'lcnet_035'"):
        create_backbone("lcnet_035", pretrained=True)


# Weights from a file


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_are_loaded_from_a_file_and_nothing_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    state = state_of(SMALL)
    file = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": state, "epoch": 3}, file)
    else:
        save_file(state, file)
    create = timm.create_model

    def local(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        assert not pretrained
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", local)
    backbone = create_backbone(SMALL, pretrained=True, weights=file)
    assert isinstance(backbone, TimmBackbone)
    loaded = backbone.network.state_dict()
    assert loaded
    for key, value in loaded.items():
        assert torch.equal(value, state[key]), key
    assert backbone.mean == timm.get_pretrained_cfg(SMALL).mean


def test_mean_and_std_are_taken_from_the_metadata(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(state_of(SMALL), file, {"mean": "0.1, 0.2,0.3", "std": "0.4,0.5,0.6"})
    backbone = create_backbone(SMALL, weights=file)
    assert (backbone.mean, backbone.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize("mean", ["0.5", "a,b,c", "1,2,3,4"])
def test_metadata_that_is_no_three_numbers_is_refused(tmp_path: Path, mean: str) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(state_of(SMALL), file, {"mean": mean, "std": "1,1,1"})
    with pytest.raises(TagformerError, match=r"weights\.safetensors"):
        create_backbone(SMALL, weights=file)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_of_another_network_are_refused_by_a_key(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"weights.{suffix}"
    state = state_of("test_resnet")
    if suffix == "pth":
        torch.save(state, file)
    else:
        save_file(state, file)
    with pytest.raises(TagformerError, match=r"does not fit 'test_efficientnet': .*(bn1|conv_stem)\.\w+"):
        create_backbone(SMALL, weights=file)


def test_a_weight_of_another_shape_is_refused_by_its_key(tmp_path: Path) -> None:
    state = state_of(SMALL)
    state["conv_stem.weight"] = torch.zeros(2, 3, 3, 3)
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(TagformerError, match=r"does not fit 'test_efficientnet': .*conv_stem\.weight"):
        create_backbone(SMALL, weights=tmp_path / "weights.safetensors")


def test_a_single_missing_weight_is_refused(tmp_path: Path) -> None:
    state = state_of(SMALL)
    del state["conv_stem.weight"]
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(TagformerError, match=r"lacks 'conv_stem\.weight' and 0 more"):
        create_backbone(SMALL, weights=tmp_path / "weights.safetensors")


def test_a_file_that_holds_no_weights_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"none\.pth does not exist"):
        create_backbone(SMALL, weights=tmp_path / "none.pth")
    for name, content in (("text.safetensors", b"no weights"), ("text.pth", b"no weights"), ("empty.pth", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TagformerError, match=rf"{name} cannot be read"):
            create_backbone(SMALL, weights=tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(2), {"epoch": 3}], ids=["list", "tensor", "no weights"])
def test_a_pth_file_of_something_else_is_refused_by_name(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(TagformerError, match=r"odd\.pth"):
        create_backbone(SMALL, weights=tmp_path / "odd.pth")


class Intruder:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_code_in_a_pth_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Intruder(tmp_path / "trace")}, tmp_path / "bad.pth")
    with pytest.raises(TagformerError, match=r"bad\.pth cannot be read"):
        create_backbone(SMALL, weights=tmp_path / "bad.pth")
    assert not (tmp_path / "trace").exists()


def test_the_tiny_backbone_has_no_weights_to_load(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match="'tiny' has no weights to load"):
        create_backbone("tiny", weights=tmp_path / "weights.pth")


def test_real_weights_with_folded_norms_are_loaded(shared: Path) -> None:
    file = shared / "weights" / "mobilenetv2_100.imagenet.safetensors"
    if not file.is_file():
        pytest.skip(f"no real weights: {file} is absent")
    backbone = create_backbone("mobilenetv2_100", weights=file, pad_type="same")
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert has_folded_norms(backbone)
    assert not any(weight.isnan().any() for weight in backbone.parameters())


# Folded norms


def test_norms_are_folded_where_they_change_nothing_with_their_epsilon() -> None:
    norm = nn.BatchNorm2d(4, eps=1e-3)
    assert norm.running_var is not None
    norm.running_var.fill_(1 - 1e-3)
    pictures = torch.randn(2, 4, 3, 3)
    assert torch.allclose(norm.eval()(pictures), pictures, atol=1e-6)
    assert has_folded_norms(norm)
    norm.running_var.fill_(0.9)
    assert not has_folded_norms(norm)


def test_norms_are_folded_where_their_statistics_are_0_and_1() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    assert has_folded_norms(model)
    model(images(8, 2))
    assert not has_folded_norms(model)
    assert not has_folded_norms(nn.Conv2d(3, 4, 3))
