"""The network of MlTr: maps, blocks, options and freezing."""

from __future__ import annotations

import pytest
import torch

from tagformer.backbones import MlTrBackbone, create_backbone
from tagformer.errors import TagformerError


def test_the_maps_have_strides_4_to_32_and_doubling_channels() -> None:
    backbone = create_backbone("mltr_s", pretrained=False, image_size=64)
    maps = backbone(torch.zeros(2, 3, 64, 64))
    assert [tuple(one.shape[1:]) for one in maps] == [(96, 16, 16), (192, 8, 8), (384, 4, 4), (768, 2, 2)]
    assert backbone.channels == (96, 192, 384, 768)
    assert backbone.strides == (4, 8, 16, 32)


@torch.no_grad()
@pytest.mark.parametrize("cross_window", ["attention", "window"])
def test_the_third_blocks_start_as_the_identity(cross_window: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone("mltr_tiny", pretrained=False, cross_window=cross_window).eval()
    without = create_backbone("mltr_tiny", pretrained=False, cross_window="none").eval()
    without.load_state_dict(backbone.state_dict(), strict=False)  # the first two blocks of a unit have the same names
    images = torch.randn(2, 3, 96, 96)
    for one, other in zip(backbone(images), without(images), strict=True):
        assert torch.equal(one, other)
    assert sum(block.has_no_swin_counterpart for block in backbone.blocks()) == 3
    assert not any(block.has_no_swin_counterpart for block in without.blocks())


def kinds(**options: object) -> list[list[str]]:
    """The blocks of each stage of the small variant: w(indow), s(hifted window), c(ross-window)."""
    backbone = create_backbone("mltr_tiny", pretrained=False, **options)
    assert isinstance(backbone, MlTrBackbone)

    def letter(block: torch.nn.Module) -> str:
        attention = block.attention
        return "c" if not hasattr(attention, "shift") else "s" if attention.shift else "w"

    return [[letter(block) for block in stage] for stage in backbone.stages]


def test_every_part_of_table_5_can_be_left_out() -> None:
    assert kinds() == [["w", "s", "c"]] * 3 + [["w", "w"]]  # the last stage is one window
    assert kinds(shift=False) == [["w", "w", "c"]] * 3 + [["w", "w"]]
    assert kinds(cross_window="none") == [["w", "s"]] * 3 + [["w", "w"]]
    assert kinds(cross_window="window") == [["w", "s", "w"]] * 3 + [["w", "w"]]
    with_bias = create_backbone("mltr_tiny", pretrained=False)
    without = create_backbone("mltr_tiny", pretrained=False, positions=False)
    assert [n for n, _ in with_bias.named_parameters() if "table" in n]
    assert not [n for n, _ in without.named_parameters() if "table" in n]


def test_impossible_sizes_are_rejected() -> None:
    with pytest.raises(TagformerError, match="100 pixels are not a multiple of 32"):
        create_backbone("mltr_s", pretrained=False, image_size=100)
    with pytest.raises(TagformerError, match="width 40 is not a multiple of 32"):
        create_backbone("mltr_tiny", pretrained=False, width=40)
    with pytest.raises(TagformerError, match="does not take these options"):
        create_backbone("mltr_tiny", pretrained=False, widht=32)
    for wrong in ({"patch": 0}, {"width": 0}, {"width": -32}, {"drop_path": 1.0}):
        with pytest.raises(TagformerError, match="must be above 0, and drop_path below 1"):
            create_backbone("mltr_tiny", pretrained=False, **wrong)
    with pytest.raises(TagformerError, match="built for images of 96 x 96 pixels"):
        create_backbone("mltr_tiny", pretrained=False)(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("maps", [1, 3, 4])
def test_freezing_covers_the_weights_up_to_a_map(maps: int) -> None:
    backbone = create_backbone("mltr_tiny", pretrained=False)
    backbone.freeze(maps)
    outputs = backbone(torch.randn(1, 3, 96, 96))
    assert [one.requires_grad for one in outputs] == [False] * maps + [True] * (4 - maps)
