"""Weights of a timm network from a local file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tagformer.backbones import TimmBackbone, create_backbone, has_folded_norms
from tagformer.errors import TagformerError

SMALL = "test_efficientnet"  # a network of timm for tests, 0.1 M weights


def state_of(name: str, classes: int = 10, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a timm network with a classifier."""
    torch.manual_seed(seed)
    return timm.create_model(name, pretrained=False, num_classes=classes).state_dict()


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


def test_the_padding_of_the_metadata_is_obeyed(tmp_path: Path) -> None:
    name, image = "mobilenetv2_050", torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    state = state_of(name)
    save_file(state, tmp_path / "plain.safetensors")
    save_file(state, tmp_path / "same.safetensors", {"padding": "same"})
    with torch.no_grad():
        plain, same, by_option = (
            create_backbone(name, weights=tmp_path / file, **options).eval()(image)[-1]
            for file, options in (
                ("plain.safetensors", {}),
                ("same.safetensors", {}),
                ("plain.safetensors", {"pad_type": "same"}),
            )
        )
    assert torch.equal(same, by_option)
    assert not torch.equal(same, plain)


@pytest.mark.parametrize("mean", ["0.5", "a,b,c", "1,2,3,4"])
def test_metadata_without_three_numbers_is_rejected(tmp_path: Path, mean: str) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(state_of(SMALL), file, {"mean": mean, "std": "1,1,1"})
    with pytest.raises(TagformerError, match=r"weights\.safetensors"):
        create_backbone(SMALL, weights=file)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_of_another_network_are_rejected_with_a_key(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"weights.{suffix}"
    state = state_of("test_resnet")
    if suffix == "pth":
        torch.save(state, file)
    else:
        save_file(state, file)
    with pytest.raises(TagformerError, match=r"does not fit 'test_efficientnet': .*(bn1|conv_stem)\.\w+"):
        create_backbone(SMALL, weights=file)


def test_a_weight_of_another_shape_is_rejected_with_its_key(tmp_path: Path) -> None:
    state = state_of(SMALL)
    state["conv_stem.weight"] = torch.zeros(2, 3, 3, 3)
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(TagformerError, match=r"does not fit 'test_efficientnet': .*conv_stem\.weight"):
        create_backbone(SMALL, weights=tmp_path / "weights.safetensors")


def test_a_single_missing_weight_is_rejected(tmp_path: Path) -> None:
    state = state_of(SMALL)
    del state["conv_stem.weight"]
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(TagformerError, match=r"lacks 'conv_stem\.weight' and 0 more"):
        create_backbone(SMALL, weights=tmp_path / "weights.safetensors")


def test_a_file_that_holds_no_weights_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"none\.pth does not exist"):
        create_backbone(SMALL, weights=tmp_path / "none.pth")
    for name, content in (("text.safetensors", b"no weights"), ("text.pth", b"no weights"), ("empty.pth", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TagformerError, match=rf"{name} cannot be read"):
            create_backbone(SMALL, weights=tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(2), {"epoch": 3}], ids=["list", "tensor", "no weights"])
def test_a_pth_file_of_something_else_is_rejected(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(TagformerError, match=r"odd\.pth"):
        create_backbone(SMALL, weights=tmp_path / "odd.pth")


class Intruder:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_code_in_a_pth_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Intruder(tmp_path / "trace")}, tmp_path / "bad.pth")
    with pytest.raises(TagformerError, match=r"bad\.pth cannot be read"):
        create_backbone(SMALL, weights=tmp_path / "bad.pth")
    assert not (tmp_path / "trace").exists()


def test_real_weights_with_folded_norms_are_loaded(shared: Path) -> None:
    file = shared / "weights" / "mobilenetv2_100.imagenet.safetensors"
    if not file.is_file():
        pytest.skip(f"no real weights: {file} is absent")
    backbone = create_backbone("mobilenetv2_100", weights=file, pad_type="same")
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert has_folded_norms(backbone)
    assert not any(weight.isnan().any() for weight in backbone.parameters())
