"""Backbones of the user, by reference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tagformer.backbones import Backbone, TinyBackbone, create_backbone
from tagformer.errors import TagformerError


class OneMap(Backbone):
    """A backbone with two options."""

    strides = (4,)

    def __init__(self, width: int = 8, bias: bool = True) -> None:
        super().__init__()
        self.channels = (width,)
        self.convolution = nn.Conv2d(3, width, 4, 4, bias=bias)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.convolution(images),)


class Informed(OneMap):
    """A backbone whose constructor asks for everything that it can be passed."""

    def __init__(self, pretrained: bool, image_size: int | None) -> None:
        super().__init__()
        self.arguments = (pretrained, image_size)


ONE_MAP, INFORMED = f"{__name__}:OneMap", f"{__name__}:Informed"


def test_options_reach_the_constructor() -> None:
    backbone = create_backbone(ONE_MAP, width=5, bias=False)
    assert type(backbone) is OneMap
    assert backbone(torch.zeros(2, 3, 32, 32))[0].shape == (2, 5, 8, 8)
    assert backbone.convolution.bias is None


def test_a_constructor_is_passed_what_it_has_arguments_for(tmp_path: Path) -> None:
    assert create_backbone(INFORMED).arguments == (True, None)
    assert create_backbone(INFORMED, pretrained=False, image_size=96).arguments == (False, 96)
    save_file(OneMap().state_dict(), tmp_path / "weights.safetensors")
    with_weights = create_backbone(INFORMED, weights=tmp_path / "weights.safetensors")
    assert with_weights.arguments == (False, None)  # the weights of the file replace all others


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_are_loaded_from_a_file(tmp_path: Path, suffix: str) -> None:
    state, file = OneMap().state_dict(), tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save(state, file)
    else:
        save_file(state, file)
    backbone = create_backbone(ONE_MAP, weights=file)
    assert torch.equal(backbone.convolution.weight, state["convolution.weight"])


def test_weights_must_fit_exactly(tmp_path: Path) -> None:
    save_file(OneMap(bias=False).state_dict(), tmp_path / "few.safetensors")
    with pytest.raises(TagformerError, match=r"few\.safetensors does not fit '.*OneMap': .*convolution\.bias"):
        create_backbone(ONE_MAP, weights=tmp_path / "few.safetensors")
    with pytest.raises(TagformerError, match="does not exist"):
        create_backbone(ONE_MAP, weights=tmp_path / "none.pth")


def test_wrong_references_and_options_are_rejected() -> None:
    with pytest.raises(TagformerError, match="'TagformerError' is not a subclass of tagformer"):
        create_backbone("tagformer.errors:TagformerError")
    with pytest.raises(TagformerError, match=r"its constructor, with .*, failed: TypeError: .*'colour'"):
        create_backbone(ONE_MAP, colour="red")


def test_a_backbone_of_the_user_can_be_frozen_as_a_whole() -> None:
    backbone = create_backbone(ONE_MAP)
    backbone.freeze(0)
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    with pytest.raises(TagformerError, match="the backbone OneMap cannot freeze single maps"):
        backbone.freeze(1)
    backbone.freeze()
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_built_in_backbones_can_be_named_by_reference() -> None:
    assert type(create_backbone("tagformer.backbones:TinyBackbone")) is TinyBackbone
