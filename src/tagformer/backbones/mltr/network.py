"""MlTr: a hierarchy of window attention and cross-window attention (Cheng et al., 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.backbones.mltr.attention import CrossWindowAttention, WindowAttention
from tagformer.errors import TagformerError, check_choice

HEAD_CHANNELS = 32  # of the window attention, as in Swin
STAGES = 4
CrossWindow = Literal["attention", "window", "none"]


class Block(nn.Module):
    """Attention and a two-layer network, each after a layer norm and added to what was there (Eqs. 1 to 4).

    Attributes:
        third: whether it is the third of its unit, which a Swin transformer does not have.
    """

    def __init__(
        self, width: int, attention: WindowAttention | CrossWindowAttention, drop_path: float, third: bool = False
    ) -> None:
        super().__init__()
        self.third = third
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = attention
        self.mlp = Mlp(width, 4 * width)
        self.drop_path = DropPath(drop_path)

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Add nothing to what was there, until training makes it."""
        for layer in (self.attention.proj, self.mlp.fc2):
            for parameter in layer.parameters():
                parameter.zero_()

    def forward(self, maps: Tensor) -> Tensor:
        """(B, h, w, C) to (B, h, w, C)."""
        maps = maps + self.drop_path(self.attention(self.norm1(maps)))
        return maps + self.drop_path(self.mlp(self.norm2(maps)))

    def with_token(self, maps: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """The same for a map that is one window (B, h, w, C) and another token (B, C)."""
        assert isinstance(self.attention, WindowAttention)
        heard, told = self.attention.with_token(self.norm1(maps), self.norm1(token))
        maps, token = maps + self.drop_path(heard), token + self.drop_path(told)
        return maps + self.drop_path(self.mlp(self.norm2(maps))), token + self.drop_path(self.mlp(self.norm2(token)))


class SpaceToDepth(nn.Module):
    """Half the height and width, twice the channels: 2 x 2 positions as one, normalised and projected."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, h, w, C) to (B, h / 2, w / 2, 2 C)."""
        batch, height, width, channels = maps.shape
        fours = maps.view(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(fours.flatten(3)))


class MlTrBackbone(Backbone):
    """The network of MlTr up to its last feature map: four maps at strides P, 2P, 4P and 8P.

    Each stage has units of window attention, shifted window attention and cross-window attention. Windows are an eighth
    of the first map's side, so that the last stage is a single window: there is no cross-window attention in it, and a
    token may join its positions (`with_token`).

    Args:
        image_size: pixels a side of the images it is built for, a multiple of 8 P.
        width: channels C of the first stage, a multiple of 32; each stage doubles them.
        units: how many in each of the four stages.
        patch: pixels P a side of the first map's positions; fewer for small images.
        positions, shift: off, no bias for relative positions, no shifted windows (Table 5).
        cross_window: ``attention``; ``window``: a block of window attention in its place; ``none``: no block at all.
        drop_path: share of the samples that skip a block in training, rising evenly to this value at the last.

    Raises:
        TagformerError: an image size or a width that is no such multiple.
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
        if min(patch, width, image_size) < 1 or not 0 <= drop_path < 1:
            raise TagformerError("mltr: patch, width and image size must be above 0, and drop_path below 1.")
        last = patch * 2 ** (STAGES - 1)
        if image_size % last:
            raise TagformerError(f"mltr: {image_size} pixels are no multiple of {last}: choose another image size.")
        if width % HEAD_CHANNELS:
            raise TagformerError(f"mltr: the width {width} is no multiple of {HEAD_CHANNELS}: choose another.")
        if len(units) != STAGES:
            raise TagformerError(f"mltr: units must be {STAGES} numbers, not {len(units)}.")
        check_choice("mltr: cross_window", cross_window, ("attention", "window", "none"))
        self.image_size, side = image_size, image_size // last
        self.channels = tuple(width * 2**stage for stage in range(STAGES))
        self.strides = tuple(patch * 2**stage for stage in range(STAGES))
        self.embedding = nn.Conv2d(3, width, patch, patch)
        self.embedding_norm = nn.LayerNorm(width)
        self.merging = nn.ModuleList(SpaceToDepth(channels) for channels in self.channels[:-1])
        unit = ["window", "shifted" if shift else "window"]
        if cross_window != "none":
            unit.append("cross" if cross_window == "attention" else "window")
        lengths = (len(unit), len(unit), len(unit), 2)  # a single window has no other to attend to
        rate = drop_path / max(1, sum(count * length for count, length in zip(units, lengths, strict=True)) - 1)
        self.stages = nn.ModuleList()
        done = 0
        for stage, (count, length) in enumerate(zip(units, lengths, strict=True)):
            channels, extent = self.channels[stage], image_size // self.strides[stage]
            blocks: list[Block] = []
            for _ in range(count):
                for place, kind in enumerate(unit[:length]):
                    moved = side // 2 if kind == "shifted" and extent > side else 0
                    attention: WindowAttention | CrossWindowAttention
                    if kind == "cross":
                        attention = CrossWindowAttention(side)
                    else:
                        size, heads, alone = (extent, extent), channels // HEAD_CHANNELS, extent == side
                        attention = WindowAttention(channels, heads, side, size, moved, positions, alone)
                    blocks.append(Block(channels, attention, rate * done, third=place == 2))
                    done += 1
            self.stages.append(nn.Sequential(*blocks))
        self.norm = nn.LayerNorm(self.channels[-1])
        for module in self.modules():
            if isinstance(module, nn.Linear):
                # As in the first ViT. Swin's normal of deviation .02 is made for hundreds of channels: next to nothing
                # would come through the narrow projections of cross-window attention, or through a small network.
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in self.blocks():
            if block.third:  # or training is slower than without it: it mixes windows before they say anything
                block.start_as_identity()

    def blocks(self) -> Iterator[Block]:
        return (module for module in self.modules() if isinstance(module, Block))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        *maps, last = self._stages(images)
        last = self.norm(self.stages[-1](last))
        return tuple(each.permute(0, 3, 1, 2) for each in (*maps, last))

    def with_token(self, images: Tensor, token: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The maps of images (B, 3, H, W), and what a token (C,) that joins the last stage becomes: (B, C)."""
        *maps, last = self._stages(images)
        token = token.expand(len(last), -1)
        for block in self.stages[-1].children():
            assert isinstance(block, Block)
            last, token = block.with_token(last, token)
        return tuple(each.permute(0, 3, 1, 2) for each in (*maps, self.norm(last))), self.norm(token)

    def _stages(self, images: Tensor) -> list[Tensor]:
        """The maps (B, h, w, C) after every stage but the last, and what goes into that one."""
        if images.shape[2:] != (self.image_size, self.image_size):
            height, width = images.shape[2:]
            raise TagformerError(
                f"this MlTr is built for images of {self.image_size} pixels a side, not of {width} x {height}."
            )
        current = self.embedding_norm(self.embedding(images).permute(0, 2, 3, 1))
        maps = []
        for stage, merging in zip(self.stages[:-1], self.merging, strict=True):
            maps.append(stage(current))
            current = merging(maps[-1])
        return [*maps, current]

    def freeze(self, maps: int | None = None) -> None:
        count = STAGES if maps is None else maps
        parts: list[nn.Module] = [*self.stages[:count], *self.merging[: max(0, count - 1)]]
        if count:
            parts += [self.embedding, self.embedding_norm]
        if count >= STAGES:
            parts.append(self.norm)
        for part in parts:
            part.requires_grad_(False)
