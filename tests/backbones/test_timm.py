"""Networks of timm as backbones: maps, names, options and downloads."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import timm
import torch
from torch import Tensor, nn

from tagformer.backbones import TimmBackbone, create_backbone
from tagformer.backbones import timm as timm_backbone
from tagformer.errors import TagformerError

SMALL = "test_efficientnet"  # a network of timm for tests, 0.1 M weights


def images(size: int | tuple[int, int], count: int = 1) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def final_map(network: nn.Module, pictures: Tensor) -> Tensor:
    """The last features of timm as (B, C, h, w)."""
    features = network.forward_features(pictures)  # type: ignore[operator]
    if features.ndim == 3:
        tokens = features[:, network.num_prefix_tokens :]
        side = math.isqrt(tokens.shape[1])
        return tokens.transpose(1, 2).unflatten(2, (side, side))
    return features if features.shape[1] == network.num_features else features.permute(0, 3, 1, 2)


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
def test_strides_are_those_of_timm_if_they_do_not_divide_the_image(name: str) -> None:
    backbone = create_backbone(name, pretrained=False)
    assert isinstance(backbone, TimmBackbone)
    assert list(backbone.strides) == [entry["reduction"] for entry in backbone.network.feature_info[-4:]]


def test_a_network_without_one_last_map_is_rejected() -> None:
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


def test_the_number_of_maps_can_be_chosen() -> None:
    backbone = TimmBackbone("resnet18", pretrained=False, maps=2)
    assert (backbone.channels, backbone.strides) == ((256, 512), (16, 32))
    assert [feature.shape[1] for feature in backbone(images(64, 2))] == [256, 512]


def test_a_network_with_a_fixed_size_can_be_built_for_another_size() -> None:
    backbone = create_backbone("test_vit", pretrained=False, image_size=96)
    assert backbone.strides == (16,) * 4
    assert backbone(images(96))[-1].shape[-2:] == (6, 6)


def test_a_new_backbone_is_in_training_mode_with_initial_norms() -> None:
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


def test_mean_and_std_are_those_of_timm() -> None:
    for name in (SMALL, "test_vit"):
        backbone = create_backbone(name, pretrained=False)
        config = timm.get_pretrained_cfg(name)
        assert (backbone.mean, backbone.std) == (config.mean, config.std)
    assert create_backbone("test_vit", pretrained=False).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("maps", [1, 2, None])
@pytest.mark.parametrize("name", ["tiny", "resnet18", SMALL, "test_convnext", "test_vit"])
def test_freezing_covers_the_weights_of_the_finest_maps(name: str, maps: int | None) -> None:
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


def test_an_unknown_network_is_rejected_with_the_nearest_one() -> None:
    with pytest.raises(TagformerError, match=r"unknown backbone 'resnet5O' .did you mean 'resnet50"):
        create_backbone("resnet5O", pretrained=False)


def test_an_unknown_weights_tag_is_rejected() -> None:
    with pytest.raises(TagformerError, match="nosuchtag"):
        create_backbone(f"{SMALL}.nosuchtag", pretrained=False)


def test_an_unknown_option_is_rejected() -> None:
    with pytest.raises(TagformerError, match=r"'test_efficientnet' does not take these options: .*colour"):
        create_backbone(SMALL, pretrained=False, colour="red")


def test_a_hub_that_does_not_answer_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        tries: ClassVar[list[float]] = []

        def head(self, url: str, timeout: float) -> None:
            self.tries.append(timeout)
            raise TimeoutError("timed out")

    monkeypatch.setattr(timm_backbone, "get_session", Silent)
    monkeypatch.setattr(timm_backbone, "try_to_load_from_cache", lambda *arguments: None)
    monkeypatch.setattr(timm_backbone.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    with pytest.raises(TagformerError, match=r"'resnet18' cannot be downloaded .*cannot be reached: timed out"):
        create_backbone("resnet18")
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "30")
    with pytest.raises(TagformerError, match="cannot be reached"):
        create_backbone("resnet18")
    assert Silent.tries == [5, 30]


def test_weights_in_the_cache_need_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unused() -> None:
        raise AssertionError("the hub was called")

    monkeypatch.setattr(timm_backbone, "get_session", unused)
    monkeypatch.setattr(timm_backbone, "try_to_load_from_cache", lambda *arguments: "weights")
    timm_backbone.check_hub("resnet18")


def test_weights_that_cannot_be_downloaded_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        assert pretrained
        raise OSError("cannot reach the hub\nwith details")

    monkeypatch.setattr(timm, "create_model", unreachable)
    monkeypatch.setattr(timm_backbone, "check_hub", lambda name: None)
    with pytest.raises(TagformerError) as caught:
        create_backbone(SMALL)
    message = str(caught.value)
    assert "the pretrained weights of 'test_efficientnet' cannot be downloaded (cannot reach the hub)" in message
    assert "--weights FILE" in message


def test_a_network_without_published_weights_is_an_error() -> None:
    assert not timm.list_models("lcnet_035*", pretrained=True)
    with pytest.raises(TagformerError, match="'lcnet_035'"):
        create_backbone("lcnet_035", pretrained=True)
