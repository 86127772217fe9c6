"""Any timm network as a pyramid of feature maps."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils import get_session
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError, did_you_mean
from tagformer.extensions import meant_reference

TINY = "tiny"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
SECONDS = 5.0  # to wait for the hub


class TimmBackbone(Backbone):
    """Any network of timm.

    The maps are those that timm lists in ``feature_info``. The last one is replaced by the final map of the network
    (after the head convolution of MobileNet and EfficientNet, or the last norm of transformers) if there is one.

    Args:
        name: any timm name, with or without a weights tag (``resnext50_32x4d.fb_swsl_ig1b_ft_in1k``).
        pretrained: load the weights of timm from the Hugging Face hub or its cache.
        weights: load a local .safetensors or .pth file instead. A safetensors file may have ``mean`` and ``std``
            ("0.5,0.5,0.5") and ``padding`` ("same") in its metadata; otherwise those of timm are used.
        maps: number of maps, counted from the coarsest.
        image_size: height and width of the images in pixels, for networks with a fixed input size.
        options: further arguments of ``timm.create_model``.

    Raises:
        TagformerError: the network is unknown, or its weights cannot be downloaded or do not fit; it never starts from
            random weights instead.

    >>> backbone = TimmBackbone("test_efficientnet", pretrained=False, maps=2)
    >>> [tuple(feature_map.shape) for feature_map in backbone(torch.zeros(1, 3, 64, 64))]
    [(1, 48, 4, 4), (1, 256, 2, 2)]
    """

    def __init__(
        self,
        name: str,
        pretrained: bool = True,
        weights: str | Path | None = None,
        maps: int = 4,
        image_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.name = name
        if timm.models.is_model(name) is False:
            hint = meant_reference(name) or did_you_mean(name, [*timm.list_models(), TINY])
            raise TagformerError(
                f"unknown backbone '{name}'{hint} "
                "(any name that timm lists, 'tiny', or your own, package.module:Class)."
            )
        if image_size and timm.get_pretrained_cfg_value(name, "fixed_input_size"):
            options.setdefault("img_size", image_size)
        if weights is not None:
            options = {**padding_option(Path(weights)), **options}
        self.network = create_network(name, pretrained and weights is None, options)
        config = self.network.pretrained_cfg
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        if weights is not None:
            self._load(Path(weights), name)
        info = self.network.feature_info
        entries = info.info if hasattr(info, "info") else info
        self.indices = list(range(len(entries)))[-maps:]
        self.modules_of_maps = tuple(entries[i]["module"] for i in self.indices)
        size = image_size or config["input_size"][-1]
        try:
            with torch.no_grad():
                probe = self.eval().forward(torch.zeros(1, 3, size, size))
        except (AttributeError, RuntimeError, AssertionError) as error:
            raise TagformerError(
                f"backbone '{name}' has no feature maps for images of {size} x {size} pixels ({error}): "
                "choose another backbone or image size."
            ) from error
        self.channels = tuple(feature.shape[1] for feature in probe)
        self.strides = tuple(entries[i]["reduction"] for i in self.indices)
        self.train()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (B, 3, H, W) to maps (B, C, h, w) from fine to coarse."""
        final, maps = self.network.forward_intermediates(images, indices=self.indices, output_fmt="NCHW")
        if not isinstance(final, Tensor):
            raise TagformerError(f"backbone '{self.name}' has no single last feature map: choose another.")
        return (*maps[:-1], self._final_map(final, maps[-1]))

    def _final_map(self, final: Tensor, last: Tensor) -> Tensor:
        """The final features of the network as a map (B, C, h, w); the last listed map if they are not a map.

        Args:
            final: tokens (B, T, C), or a map, channels-first or channels-last.
            last: the last listed map (B, C, h, w).
        """
        size = last.shape[2:]
        if final.ndim == 3:  # tokens, possibly with a class token before the positions
            positions = final[:, getattr(self.network, "num_prefix_tokens", 0) :].transpose(1, 2)  # (B, C, T)
            if positions.shape[1:] == last.flatten(2).shape[1:]:
                return positions.unflatten(2, size)
        if final.ndim == 4 and final.shape[2:] == size:
            return final
        if final.ndim == 4 and final.shape[1:3] == size:  # channels-last, as in Swin
            return final.permute(0, 3, 1, 2)
        return last

    def freeze(self, maps: int | None = None) -> None:
        parameters = list(self.network.named_parameters())  # in the order of the layers
        count = len(parameters)
        if maps is not None:
            inside = [f"{module}." for module in self.modules_of_maps[:maps]]
            count = 1 + max((i for i, (name, _) in enumerate(parameters) if name.startswith(tuple(inside))), default=-1)
        for _, parameter in parameters[:count]:
            parameter.requires_grad_(False)

    def _load(self, file: Path, name: str) -> None:
        state = read_weights(file)
        try:
            missing = self.network.load_state_dict(state, strict=False).missing_keys
        except RuntimeError as error:
            raise TagformerError(
                f"weights file {file} does not fit '{name}': {str(error).splitlines()[-1].strip()}"
            ) from error
        if missing:
            raise TagformerError(
                f"weights file {file} does not fit '{name}': it lacks '{missing[0]}' and {len(missing) - 1} more."
            )
        if (statistics := _statistics(file)) is not None:
            self.mean, self.std = statistics


def read_weights(file: Path) -> dict[str, Tensor]:
    """The weights of a .safetensors or .pth file, by name.

    Raises:
        TagformerError: the file does not exist or cannot be read.
    """
    if not file.is_file():
        raise TagformerError(f"weights file {file} does not exist.")
    try:
        return timm.models.load_state_dict(str(file), use_ema=True, weights_only=True)
    except Exception as error:  # the readers raise errors of many types
        raise TagformerError(f"weights file {file} cannot be read ({error}): use .safetensors or .pth.") from error


def create_network(name: str, pretrained: bool, options: dict[str, Any]) -> Any:
    """A timm network without its classifier.

    Raises:
        TagformerError: an unknown option, or weights that cannot be downloaded.
    """
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.CRITICAL)  # it logs every attempt; the reason is in the error
    try:
        if pretrained:
            check_hub(name)
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except (TypeError, AssertionError) as error:
        raise TagformerError(f"backbone '{name}' does not take these options: {error}") from error
    except Exception as error:
        if not pretrained:
            raise TagformerError(f"backbone '{name}' cannot be created: {error}") from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TagformerError(
            f"the pretrained weights of '{name}' cannot be downloaded ({reason}): give a local file with "
            "--weights FILE, or start from random weights with --set model.backbone.pretrained=false."
        ) from error
    finally:
        hub.setLevel(level)


def check_hub(name: str) -> None:
    """Try once to reach the Hugging Face hub, unless the weights of a network are in its cache.

    The hub's own functions try again and again, for more than a minute. Its environment variables apply: HF_ENDPOINT,
    HF_HUB_OFFLINE, and HF_HUB_ETAG_TIMEOUT for the seconds to wait.

    Raises:
        OSError: the hub cannot be reached.
    """
    repository = timm.get_pretrained_cfg_value(name, "hf_hub_id")
    if not repository or constants.HF_HUB_OFFLINE:
        return
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in HUB_FILES):
        return
    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT", SECONDS))
    try:
        get_session().head(constants.ENDPOINT, timeout=seconds)
    except Exception as error:  # errors of the HTTP library, which depends on the hub's version
        raise OSError(f"{constants.ENDPOINT} cannot be reached: {str(error) or type(error).__name__}") from error


def padding_option(file: Path) -> dict[str, str]:
    """The option of timm's network that a weights file asks for by ``padding`` in its metadata; else empty.

    Raises:
        TagformerError: the file cannot be read.
    """
    padding = _metadata(file).get("padding")
    return {} if padding is None else {"pad_type": padding}


def _metadata(file: Path) -> dict[str, str]:
    """The metadata of a .safetensors file; empty for other files."""
    if file.suffix != ".safetensors" or not file.is_file():
        return {}
    try:
        with safe_open(file, framework="pt") as content:
            return content.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise TagformerError(f"weights file {file} cannot be read ({error}): use .safetensors or .pth.") from error


def _statistics(file: Path) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    """Mean and std from the metadata of a .safetensors file; None if there are none."""
    metadata = _metadata(file)
    if "mean" not in metadata or "std" not in metadata:
        return None
    try:
        return _triple(metadata["mean"]), _triple(metadata["std"])
    except ValueError as error:
        raise TagformerError(f"weights file {file}: mean and std must be three numbers each.") from error


def _triple(text: str) -> tuple[float, float, float]:
    first, second, third = (float(part) for part in text.split(","))
    return first, second, third
