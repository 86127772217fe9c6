"""Weights for MlTr from a Swin transformer, and from an MlTr that was built for another image size."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tagformer.backbones.mltr.attention import WindowAttention
from tagformer.backbones.mltr.network import Block, MlTrBackbone
from tagformer.backbones.timm import create_network, read_weights
from tagformer.errors import TagformerError

# Swin transformers with the widths, and in the stages' window blocks the depths, of MlTr's variants.
SWIN = {
    "mltr_s": "swin_tiny_patch4_window7_224.ms_in1k",
    "mltr_m": "swin_small_patch4_window7_224.ms_in1k",
    "mltr_l": "swin_base_patch4_window12_384.ms_in22k_ft_in1k",
}
State = dict[str, Tensor]


def load_swin(backbone: MlTrBackbone, name: str) -> None:
    """Start from timm's weights of the Swin transformer that a variant resembles.

    Raises:
        TagformerError: there is none, or its weights cannot be downloaded.
    """
    if name not in SWIN:
        raise TagformerError(
            f"there are no pretrained weights for '{name}': start from random ones with "
            "--set model.backbone.pretrained=false."
        )
    load_state(backbone, create_network(SWIN[name], True, {}).state_dict(), SWIN[name])


def load_file(backbone: MlTrBackbone, file: Path) -> None:
    """Load a .safetensors or .pth file of a Swin transformer of timm, or of an MlTr.

    Raises:
        TagformerError: the file cannot be read or does not fit.
    """
    load_state(backbone, read_weights(file), f"weights file {file}")


def load_state(backbone: MlTrBackbone, state: State, origin: str) -> None:
    """Load the weights of a Swin transformer of timm or of an MlTr, for whatever image size it was built.

    With a Swin transformer's, a new network computes what that one does: its third blocks begin as the identity anyway,
    and the positions of the last stage do not hear a token that joins them.

    Raises:
        TagformerError: weights that are missing or of other shapes.
    """
    swin = "patch_embed.proj.weight" in state
    if swin:
        unhear_token(backbone)
        state = from_swin(backbone, state, origin)
    own = backbone.state_dict()
    state = {name: resized(weight, own[name], name) if name in own else weight for name, weight in state.items()}
    wanted = {name for name in own if not (swin and _is_new(backbone, name))}
    missing = sorted(wanted - state.keys())
    if missing:
        raise TagformerError(f"{origin} does not fit: it lacks '{missing[0]}' and {len(missing) - 1} more.")
    for name in sorted(wanted):
        if state[name].shape != own[name].shape:
            raise TagformerError(
                f"{origin} does not fit: '{name}' is {tuple(state[name].shape)}, not {tuple(own[name].shape)}."
            )
    backbone.load_state_dict({name: state[name] for name in wanted}, strict=False)


@torch.no_grad()
def unhear_token(backbone: MlTrBackbone) -> None:
    """Make the positions of the last stage deaf, for a start, to a token that joins them."""
    for block in backbone.blocks():
        if isinstance(block.attention, WindowAttention) and block.attention.token_weight is not None:
            block.attention.token_weight.zero_()


def from_swin(backbone: MlTrBackbone, state: State, origin: str) -> State:
    """A timm Swin transformer's state dict under the names of `backbone`; its classifier is left out.

    Raises:
        TagformerError: it has more blocks.
    """
    places: dict[tuple[int, int], str] = {}
    for stage, blocks in enumerate(backbone.stages):
        windows = [i for i, block in enumerate(blocks.children()) if not _is_third(block)]
        places |= {(stage, depth): f"stages.{stage}.{i}" for depth, i in enumerate(windows)}
    renamed: State = {}
    for name, weight in state.items():
        if found := re.fullmatch(r"layers\.(\d+)\.blocks\.(\d+)\.(.+)", name):
            place = places.get((int(found[1]), int(found[2])))
            if place is None:
                raise TagformerError(f"{origin} does not fit: MlTr's network has no place for its '{name}'.")
            part = (
                found[3]
                .replace("attn.relative_position_bias_table", "attn.table.weight")
                .replace("attn.", "attention.")
            )
            if not part.endswith(("relative_position_index", "attn_mask")):
                renamed[f"{place}.{part}"] = weight
        elif found := re.fullmatch(r"layers\.(\d+)\.downsample\.(.+)", name):
            renamed[f"merging.{int(found[1]) - 1}.{found[2]}"] = weight
        elif name.startswith("patch_embed."):
            renamed[name.replace("patch_embed.proj", "embedding").replace("patch_embed.norm", "embedding_norm")] = (
                weight
            )
        elif name.startswith("norm."):
            renamed[name] = weight
    return renamed


def resized(weight: Tensor, like: Tensor, name: str) -> Tensor:
    """A weight whose shape follows the window, for another window: bicubic, as grids of positions.

    A weight that is none of these, or of another width, is given back as it is.
    """
    if weight.shape == like.shape or weight.ndim != like.ndim:
        return weight
    if name.endswith("attention.table.weight") and weight.shape[1:] == like.shape[1:]:
        return _as_grid(weight.T, len(like)).T.contiguous()
    parts = 3 if ".attention.qkv." in name else 1 if ".attention.proj." in name else 0
    if parts and all(_counts_positions(shape, parts) for shape in (weight.shape, like.shape)):
        return _resized_projection(weight, like, parts)
    return weight


def _counts_positions(shape: torch.Size, parts: int) -> bool:
    """Whether a shape is that of a cross-window projection, (parts * s^2, s^2) or (parts * s^2)."""
    positions = shape[0] // parts
    square = positions * parts == shape[0] and math.isqrt(positions) ** 2 == positions
    return square and (len(shape) == 1 or shape[1] == positions)


def _resized_projection(weight: Tensor, like: Tensor, parts: int) -> Tensor:
    """A cross-window projection, or its bias: every side that counts positions is such a grid."""
    if weight.ndim == 1:
        return _as_grid(weight.unflatten(0, (parts, -1)), len(like) // parts).flatten()
    rows = weight.unflatten(0, (parts, -1)).transpose(1, 2).flatten(0, 1)  # the outputs last
    outputs = _as_grid(rows, len(like) // parts).unflatten(0, (parts, -1)).transpose(1, 2)
    # The values of fewer, larger inputs are summed: a sum over s^2 inputs must stay what it was.
    scale = weight.shape[1] / like.shape[1]
    return _as_grid(outputs.flatten(0, 1), like.shape[1]) * scale


def _as_grid(rows: Tensor, count: int) -> Tensor:
    """Rows (R, n^2), each a grid of n x n, to (R, count)."""
    old, new = round(rows.shape[1] ** 0.5), round(count**0.5)
    grid = rows.float().view(len(rows), 1, old, old)
    return F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False).flatten(1).to(rows.dtype)


def _is_third(block: torch.nn.Module) -> bool:
    return isinstance(block, Block) and block.third


def _is_new(backbone: MlTrBackbone, name: str) -> bool:
    """Whether a weight has no counterpart in a Swin transformer."""
    if name.endswith("token_weight"):
        return True
    found = re.match(r"stages\.\d+\.\d+", name)
    return found is not None and _is_third(backbone.get_submodule(found[0]))
