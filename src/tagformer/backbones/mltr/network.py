"""The network of MlTr: four stages of pixel attention and cross-window attention (Cheng et al., 2021, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.backbones.mltr.attention import CrossWindowAttention, PixelAttention
from tagformer.errors import TagformerError, check_choice

HEAD_CHANNELS = 32  # of the pixel attention, as in Swin
STAGES = 4
CrossWindow = Literal["attention", "window", "none"]
Kind = Literal["pixel", "shifted", "cross", "extra_pixel"]  # extra_pixel: pixel attention in the place of "cross"


class Block(nn.Module):
    """An MlTr block: attention and an MLP, each with a layer norm before it and a residual connection.

    x_temp = A(LN(x)) + x, then MLP(LN(x_temp)) + x_temp, where A is pixel attention (Eqs. 1 and 2) or cross-window
    attention (Eqs. 3 and 4).

    Attributes:
        has_no_swin_counterpart: whether it is the third block of its unit; a Swin transformer has the first two.
    """

    def __init__(
        self,
        width: int,
        attention: PixelAttention | CrossWindowAttention,
        drop_path: float,
        has_no_swin_counterpart: bool = False,
    ) -> None:
        super().__init__()
        self.has_no_swin_counterpart = has_no_swin_counterpart
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = attention
        self.mlp = Mlp(width, 4 * width)
        self.drop_path = DropPath(drop_path)

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Zero-initialise both output projections: the block starts as the identity."""
        for layer in (self.attention.proj, self.mlp.fc2):
            for parameter in layer.parameters():
                parameter.zero_()

    def forward(self, maps: Tensor) -> Tensor:
        """(B, h, w, C) to (B, h, w, C)."""
        maps = maps + self.drop_path(self.attention(self.norm1(maps)))  # Eq. 1 or 3
        return maps + self.drop_path(self.mlp(self.norm2(maps)))  # Eq. 2 or 4

    def forward_with_token(self, maps: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """The same for a map that is a single window (B, h, w, C), and a token (B, C) that joins it."""
        assert isinstance(self.attention, PixelAttention)
        attended_maps, attended_token = self.attention.forward_with_token(self.norm1(maps), self.norm1(token))
        maps, token = maps + self.drop_path(attended_maps), token + self.drop_path(attended_token)
        return maps + self.drop_path(self.mlp(self.norm2(maps))), token + self.drop_path(self.mlp(self.norm2(token)))


class SpaceToDepth(nn.Module):
    """Space to depth between two stages: 2 x 2 positions become one with twice the channels (MlTr, section 3.1.1).

    >>> SpaceToDepth(width=32)(torch.zeros(1, 8, 8, 32)).shape
    torch.Size([1, 4, 4, 64])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, h, w, C) to (B, h / 2, w / 2, 2 C)."""
        batch, height, width, channels = maps.shape
        squares = maps.view(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(squares.flatten(3)))  # (B, h / 2, w / 2, 4 C) -> (B, h / 2, w / 2, 2 C)


class MlTrBackbone(Backbone):
    """The network of MlTr up to its last feature map (section 3.1): four maps at strides P, 2P, 4P and 8P.

    A convolution projects patches of P x P pixels to tokens. Each of the four stages has units of three blocks: pixel
    attention, pixel attention in shifted windows, and cross-window attention; space to depth lies between the stages.
    The side of a window is an eighth of the side of the first map, so the last stage is a single window: it has no
    cross-window attention, and the object-aware token can join its positions (`forward_with_token`).

    Args:
        image_size: height and width of the images in pixels, a multiple of 8 P.
        width: channels C of the first stage, a multiple of 32; each further stage doubles them.
        units: number of units in each of the four stages (the block numbers of Table 1).
        patch: pixels P along the side of a patch.
        positions: whether pixel attention has a relative position bias (Table 5).
        shift: whether the second block of a unit has shifted windows (Table 5).
        cross_window: ``attention``; or ``none``: units of two blocks (Table 5).

    Beyond the paper:
        cross_window: ``window``: pixel attention in the place of cross-window attention, which keeps the depth.
        drop_path: share of the samples that skip a block in training; it grows linearly from 0 at the first block to
            this value at the last.

    Raises:
        TagformerError: the image size or the width is not such a multiple, or another option is out of its range.

    >>> backbone = MlTrBackbone(image_size=64, width=32, units=(1, 1, 1, 1))
    >>> [tuple(maps.shape) for maps in backbone(torch.zeros(1, 3, 64, 64))]
    [(1, 32, 16, 16), (1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
    """

    def __init__(
        self,
        image_size: int = 224,
        width: int = 96,
        units: Sequence[int] = (1, 1, 3, 1),
        patch: int = 4,
        positions: bool = True,
        shift: bool = True,
        cross_window: CrossWindow = "attention",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        _check_options(image_size, width, units, patch, cross_window, drop_path)
        self.image_size = image_size
        self.channels = tuple(width * 2**stage for stage in range(STAGES))
        self.strides = tuple(patch * 2**stage for stage in range(STAGES))
        self.embedding = nn.Conv2d(3, width, patch, patch)
        self.embedding_norm = nn.LayerNorm(width)
        self.merging = nn.ModuleList(SpaceToDepth(channels) for channels in self.channels[:-1])
        kinds = stage_kinds(units, shift, cross_window)
        rates = drop_path_rates(drop_path, [len(blocks) for blocks in kinds])
        window = image_size // self.strides[-1]
        self.stages = nn.ModuleList(
            create_stage(channels, image_size // stride, window, blocks, drop_paths, positions)
            for channels, stride, blocks, drop_paths in zip(self.channels, self.strides, kinds, rates, strict=True)
        )
        self.norm = nn.LayerNorm(self.channels[-1])
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                # As in the first ViT. Swin's normal distribution with a deviation of 0.02 is made for hundreds of
                # channels; with the narrow projections of cross-window attention, or in a small network, the signal
                # would almost vanish.
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in self.blocks():
            # Cross-window attention that mixes windows before they have features slows training down.
            if block.has_no_swin_counterpart:
                block.start_as_identity()

    def blocks(self) -> Iterator[Block]:
        """All blocks, from the first to the last."""
        return (module for module in self.modules() if isinstance(module, Block))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (B, 3, H, W) to four maps (B, C, h, w), from fine to coarse."""
        *maps, last = self._before_last_stage(images)
        last = self.norm(self.stages[-1](last))
        return _channels_first([*maps, last])

    def forward_with_token(self, images: Tensor, token: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The maps, with an object-aware token that joins the last stage (section 3.1.1).

        Args:
            images: normalised (B, 3, H, W).
            token: (C,), the token before the last stage.

        Returns:
            The maps of `forward`, and the token after the last stage (B, C).
        """
        *maps, last = self._before_last_stage(images)
        token = token.expand(len(last), -1)
        for block in self.stages[-1].children():
            assert isinstance(block, Block)
            last, token = block.forward_with_token(last, token)
        return _channels_first([*maps, self.norm(last)]), self.norm(token)

    def _before_last_stage(self, images: Tensor) -> list[Tensor]:
        """The maps (B, h, w, C) after every stage but the last, and the input of the last stage."""
        if images.shape[2:] != (self.image_size, self.image_size):
            height, width = images.shape[2:]
            raise TagformerError(
                f"this MlTr is built for images of {self.image_size} x {self.image_size} pixels, "
                f"but an image has {width} x {height}: resize it, or set the image size of the model."
            )
        current = self.embedding_norm(self.embedding(images).permute(0, 2, 3, 1))  # (B, H / P, W / P, C)
        maps = []
        for stage, space_to_depth in zip(self.stages[:-1], self.merging, strict=True):
            maps.append(stage(current))
            current = space_to_depth(maps[-1])
        return [*maps, current]

    def freeze(self, maps: int | None = None) -> None:
        count = STAGES if maps is None else maps
        frozen: list[nn.Module] = [*self.stages[:count], *self.merging[: max(0, count - 1)]]
        if count:
            frozen += [self.embedding, self.embedding_norm]
        if count >= STAGES:
            frozen.append(self.norm)
        for module in frozen:
            module.requires_grad_(False)


def _check_options(
    image_size: int, width: int, units: Sequence[int], patch: int, cross_window: str, drop_path: float
) -> None:
    if min(patch, width, image_size) < 1 or not 0 <= drop_path < 1:
        raise TagformerError("mltr: patch, width and image size must be above 0, and drop_path below 1.")
    last_stride = patch * 2 ** (STAGES - 1)
    if image_size % last_stride:
        raise TagformerError(
            f"mltr: {image_size} pixels are not a multiple of {last_stride}: choose another image size."
        )
    if width % HEAD_CHANNELS:
        raise TagformerError(f"mltr: the width {width} is not a multiple of {HEAD_CHANNELS}: choose another width.")
    if len(units) != STAGES:
        raise TagformerError(f"mltr: units must be {STAGES} numbers, not {len(units)}.")
    check_choice("mltr: cross_window", cross_window, ("attention", "window", "none"))


def stage_kinds(units: Sequence[int], shift: bool, cross_window: CrossWindow) -> list[list[Kind]]:
    """The kinds of the blocks of each stage; the arguments are those of `MlTrBackbone`.

    >>> stage_kinds((1, 2, 1, 1), shift=True, cross_window="attention")[1]
    ['pixel', 'shifted', 'cross', 'pixel', 'shifted', 'cross']
    """
    first_two: list[Kind] = ["pixel", "shifted" if shift else "pixel"]
    third: dict[CrossWindow, list[Kind]] = {"attention": ["cross"], "window": ["extra_pixel"], "none": []}
    *earlier, last = units
    unit = first_two + third[cross_window]
    return [*(unit * count for count in earlier), first_two * last]  # the last stage is a single window


def drop_path_rates(largest: float, lengths: Sequence[int]) -> list[list[float]]:
    """The rate of each block, growing linearly from 0 to the largest, for stages of so many blocks.

    >>> drop_path_rates(0.2, [2, 3])
    [[0.0, 0.05], [0.1, 0.15000000000000002, 0.2]]
    """
    step = largest / max(1, sum(lengths) - 1)
    starts = [sum(lengths[:stage]) for stage in range(len(lengths))]
    return [[step * (start + i) for i in range(length)] for start, length in zip(starts, lengths, strict=True)]


def create_stage(
    width: int, size: int, window: int, kinds: Sequence[Kind], drop_paths: Sequence[float], positions: bool
) -> nn.Sequential:
    """The blocks of one stage.

    Args:
        width: channels of the stage.
        size: positions along the side of its map.
        window: positions w_s along the side of a window.
        kinds: of the blocks.
        drop_paths: rate of each block.
        positions: whether pixel attention has a relative position bias.
    """
    single = size == window
    blocks = []
    for kind, drop_path in zip(kinds, drop_paths, strict=True):
        attention: PixelAttention | CrossWindowAttention
        if kind == "cross":
            attention = CrossWindowAttention(window)
        else:
            shift = window // 2 if kind == "shifted" and not single else 0
            heads = width // HEAD_CHANNELS
            attention = PixelAttention(width, heads, window, (size, size), shift, positions, token=single)
        blocks.append(Block(width, attention, drop_path, has_no_swin_counterpart=kind in ("cross", "extra_pixel")))
    return nn.Sequential(*blocks)


def _channels_first(maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Each (B, h, w, C) to (B, C, h, w)."""
    return tuple(one.permute(0, 3, 1, 2) for one in maps)
