"""Weights for MlTr from a Swin transformer, and from an MlTr that was built for another image size."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tagformer.backbones.mltr.attention import PixelAttention
from tagformer.backbones.mltr.network import Block, MlTrBackbone
from tagformer.backbones.timm import create_network, read_weights
from tagformer.errors import TagformerError, check_choice

# The Swin transformers with the widths of the variants of MlTr, and with as many blocks of pixel attention, by the
# ImageNet they were trained on: 1k, 22k, or 22k and then 1k. The last one of a variant is the default.
SWIN = {
    "mltr_s": {
        "22k": "swin_tiny_patch4_window7_224.ms_in22k",
        "22k-1k": "swin_tiny_patch4_window7_224.ms_in22k_ft_in1k",
        "1k": "swin_tiny_patch4_window7_224.ms_in1k",
    },
    "mltr_m": {
        "22k": "swin_small_patch4_window7_224.ms_in22k",
        "22k-1k": "swin_small_patch4_window7_224.ms_in22k_ft_in1k",
        "1k": "swin_small_patch4_window7_224.ms_in1k",
    },
    "mltr_l": {
        "1k": "swin_base_patch4_window12_384.ms_in1k",
        "22k": "swin_base_patch4_window12_384.ms_in22k",
        "22k-1k": "swin_base_patch4_window12_384.ms_in22k_ft_in1k",
    },
}
SWIN_PARTS = (  # of a block: the names in timm, and ours
    ("attn.relative_position_bias_table", "attention.table.weight"),
    ("attn.", "attention."),
)
SWIN_BUFFERS = ("relative_position_index", "attn_mask")
State = dict[str, Tensor]


def swin_name(name: str, imagenet: str | None = None) -> str:
    """The name in timm of the Swin transformer whose weights a variant of MlTr starts from.

    Args:
        name: of the variant.
        imagenet: ``1k``, ``22k``, or ``22k-1k`` for 22k and then 1k; None: the variant's default.

    Raises:
        TagformerError: no Swin transformer corresponds to the variant, or none with this ImageNet.

    >>> swin_name("mltr_s", "22k")
    'swin_tiny_patch4_window7_224.ms_in22k'
    """
    if name not in SWIN:
        raise TagformerError(
            f"there are no pretrained weights for '{name}': start from random ones with "
            "--set model.backbone.pretrained=false."
        )
    if imagenet is None:
        return list(SWIN[name].values())[-1]
    check_choice("backbone option imagenet", imagenet, tuple(SWIN[name]))
    return SWIN[name][imagenet]


def load_swin(backbone: MlTrBackbone, name: str, imagenet: str | None = None) -> None:
    """Load timm's ImageNet weights of the Swin transformer that corresponds to a variant; see `swin_name`.

    Raises:
        TagformerError: no Swin transformer corresponds to it, or the weights cannot be downloaded.
    """
    swin = swin_name(name, imagenet)
    load_state(backbone, create_network(swin, True, {}).state_dict(), swin)


def load_file(backbone: MlTrBackbone, file: Path) -> None:
    """Load a .safetensors or .pth file of a Swin transformer of timm, or of an MlTr.

    Raises:
        TagformerError: the file cannot be read or does not fit.
    """
    load_state(backbone, read_weights(file), f"weights file {file}")


def load_state(backbone: MlTrBackbone, state: State, origin: str) -> None:
    """Load the weights of a Swin transformer of timm, or of an MlTr, built for any image size.

    With the weights of a Swin transformer, the network initially computes what the Swin transformer computes: the
    blocks without a counterpart start as the identity, and the attention weight of the token is zero.

    Args:
        origin: of the weights, for messages.

    Raises:
        TagformerError: weights are missing or have other shapes.
    """
    is_swin = "patch_embed.proj.weight" in state
    if is_swin:
        zero_token_weight(backbone)
        state = from_swin(backbone, state, origin)
    current = backbone.state_dict()
    state = {name: resized(weight, current[name], name) for name, weight in state.items() if name in current}
    needed = {name for name in current if not (is_swin and _has_no_swin_counterpart(backbone, name))}
    missing = sorted(needed - state.keys())
    if missing:
        raise TagformerError(f"{origin} does not fit: it lacks '{missing[0]}' and {len(missing) - 1} more.")
    for name in sorted(needed):
        if state[name].shape != current[name].shape:
            raise TagformerError(
                f"{origin} does not fit: '{name}' is {tuple(state[name].shape)}, not {tuple(current[name].shape)}."
            )
    backbone.load_state_dict({name: state[name] for name in needed}, strict=False)


@torch.no_grad()
def zero_token_weight(backbone: MlTrBackbone) -> None:
    """Zero the token's attention weight, so that the network initially equals the Swin transformer."""
    for block in backbone.blocks():
        if isinstance(block.attention, PixelAttention) and block.attention.token_weight is not None:
            block.attention.token_weight.zero_()


def from_swin(backbone: MlTrBackbone, state: State, origin: str) -> State:
    """The state dict of a timm Swin transformer under the names of `backbone`, without its classifier.

    Raises:
        TagformerError: the Swin transformer has more blocks.
    """
    places = _swin_blocks(backbone)
    renamed: State = {}
    for name, weight in state.items():
        if match := re.fullmatch(r"layers\.(\d+)\.blocks\.(\d+)\.(.+)", name):
            place = places.get((int(match[1]), int(match[2])))
            if place is None:
                raise TagformerError(f"{origin} does not fit: this MlTr has no block for its '{name}'.")
            part = match[3]
            for theirs, ours in SWIN_PARTS:
                part = part.replace(theirs, ours)
            if not part.endswith(SWIN_BUFFERS):
                renamed[f"{place}.{part}"] = weight
        elif match := re.fullmatch(r"layers\.(\d+)\.downsample\.(.+)", name):
            renamed[f"merging.{int(match[1]) - 1}.{match[2]}"] = weight
        elif name.startswith("patch_embed."):
            ours = name.replace("patch_embed.proj", "embedding").replace("patch_embed.norm", "embedding_norm")
            renamed[ours] = weight
        elif name.startswith("norm."):
            renamed[name] = weight
    return renamed


def _swin_blocks(backbone: MlTrBackbone) -> dict[tuple[int, int], str]:
    """Stage and depth of a block of a Swin transformer to the name of its counterpart in `backbone`."""
    places: dict[tuple[int, int], str] = {}
    for stage, blocks in enumerate(backbone.stages):
        counterparts = [i for i, block in enumerate(blocks.children()) if not _is_new(block)]
        places |= {(stage, depth): f"stages.{stage}.{i}" for depth, i in enumerate(counterparts)}
    return places


def resized(weight: Tensor, like: Tensor, name: str) -> Tensor:
    """A weight whose shape follows the window, interpolated for another window: bicubic, as grids of positions.

    These are the relative position biases and the projections of cross-window attention. All other weights are
    returned unchanged.

    Args:
        weight: from an MlTr that was built for another image size.
        like: the weight that it will replace.
        name: of the weight.
    """
    if weight.shape == like.shape or weight.ndim != like.ndim:
        return weight
    if name.endswith("attention.table.weight") and weight.shape[1:] == like.shape[1:]:
        return _as_grid(weight.T, len(like)).T.contiguous()
    parts = 3 if ".attention.qkv." in name else 1 if ".attention.proj." in name else 0
    if parts and all(_is_cross_window_shape(shape, parts) for shape in (weight.shape, like.shape)):
        return _resized_projection(weight, like, parts)
    return weight


def _is_cross_window_shape(shape: torch.Size, parts: int) -> bool:
    """Whether a shape is that of a cross-window projection or its bias: (parts * s^2, s^2) or (parts * s^2)."""
    positions = shape[0] // parts
    is_square = positions * parts == shape[0] and math.isqrt(positions) ** 2 == positions
    return is_square and (len(shape) == 1 or shape[1] == positions)


def _resized_projection(weight: Tensor, like: Tensor, parts: int) -> Tensor:
    """A cross-window projection (parts * s^2, s^2), or its bias (parts * s^2): inputs and outputs are such grids."""
    if weight.ndim == 1:
        return _as_grid(weight.unflatten(0, (parts, -1)), len(like) // parts).flatten()
    rows = weight.unflatten(0, (parts, -1)).transpose(1, 2).flatten(0, 1)  # (parts * inputs, outputs)
    outputs = _as_grid(rows, len(like) // parts).unflatten(0, (parts, -1)).transpose(1, 2)
    # A sum over fewer inputs must stay as large as it was.
    scale = weight.shape[1] / like.shape[1]
    return _as_grid(outputs.flatten(0, 1), like.shape[1]) * scale


def _as_grid(rows: Tensor, count: int) -> Tensor:
    """Rows (R, n^2), each a grid of n x n, interpolated to (R, count)."""
    old, new = round(rows.shape[1] ** 0.5), round(count**0.5)
    grid = rows.float().view(len(rows), 1, old, old)
    return F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False).flatten(1).to(rows.dtype)


def _is_new(block: torch.nn.Module) -> bool:
    return isinstance(block, Block) and block.has_no_swin_counterpart


def _has_no_swin_counterpart(backbone: MlTrBackbone, name: str) -> bool:
    """Whether a weight does not exist in a Swin transformer: that of the token, or of a block of its own."""
    if name.endswith("token_weight"):
        return True
    match = re.match(r"stages\.\d+\.\d+", name)
    return match is not None and _is_new(backbone.get_submodule(match[0]))
