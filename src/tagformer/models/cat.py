"""CAT: Cross-layer Aggregation with Transformers (Zhang et al., ICASSP 2022)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError, did_you_mean
from tagformer.labels.space import LabelSpace
from tagformer.models.base import Positive, Share
from tagformer.models.fpn import FPN
from tagformer.models.layers import EncoderLayer

ATTENTIONS = ("pre_max", "full")


class CAT(FPN):
    """A feature pyramid whose levels are aggregated from coarse to fine by attention.

    Long-range dependencies: encoder layers over the positions of P5 give P_r5 (Eqs. 1 to 3). Cross-layer fusion: what a
    level found is the query to the next finer one, P_ri = FFN(P_i + PMA(P_ri+1, P_i, P_i)) (Eqs. 4 and 5). The
    classifiers see the maxima of P_r3, P_r4 and P_r5; their logits are summed. There is no positional encoding. It does
    not use known labels.

    Args:
        width: channels of every level (1024 in the paper).
        layers, heads: of the encoder on P5 (2 and 8); the fusions have as many heads.
        feedforward: width of the feed-forward networks; None: twice the width.
        dropout: within the encoder and the fusions.
        norm_first: layer norms stand before the attentions and the feed-forward networks, not after the sums, so that a
            position that shows nothing stays quiet and is passed over by the maximum (docs/cat.md has the figures). The
            paper's equations have no norms, and its text "a vanilla" encoder.
        attention: ``pre_max``: the query is the maximum over the coarser level's positions. ``full``: every position is
            one, and their answers are upsampled onto the finer level ("w/o PMA", h * w times the products, Eqs. 6, 7).
        lrd: off, P5 goes on as it is ("w/o LRD").
        clf: off, P_r5 alone is classified ("w/o CLF").
        standardise: the classifiers' inputs, as in `FPN`.

    Raises:
        TagformerError: the heads do not divide the width, an unknown attention, a backbone with too few maps.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        backbone: Backbone,
        width: Positive = 1024,
        layers: Positive = 2,
        heads: Positive = 8,
        feedforward: Positive | None = None,
        dropout: Share = 0.1,
        norm_first: bool = True,
        attention: str = "pre_max",
        lrd: bool = True,
        clf: bool = True,
        standardise: bool = True,
    ) -> None:
        super().__init__(label_space, backbone, width, 3 if clf else 1, standardise)
        if width % heads:
            raise TagformerError(f"cat: {heads} heads do not divide the width {width}: choose another of the two.")
        if attention not in ATTENTIONS:
            raise TagformerError(
                f"cat: attention '{attention}' is unknown{did_you_mean(attention, ATTENTIONS)}: use pre_max or full."
            )
        sizes = (width, heads, feedforward or 2 * width, dropout)
        self.long_range_dependencies = nn.ModuleList(
            EncoderLayer(*sizes, norm_first=norm_first) for _ in range(layers if lrd else 0)
        )
        self.cross_layer_fusion = nn.ModuleList(
            CrossLayerFusion(*sizes, norm_first, attention) for _ in range(self.levels - 1)
        )

    def maps(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to P_r3, P_r4, P_r5 (B, C, h, w), from fine to coarse; without `clf` P_r5 alone."""
        *finer, coarsest = super().maps(images)
        tokens = _tokens(coarsest)
        for layer in self.long_range_dependencies:
            tokens = layer(tokens)
        refined = [_map(tokens, coarsest)]
        for fusion, level in zip(self.cross_layer_fusion, reversed(finer), strict=True):
            refined.insert(0, fusion(refined[0], level))
        return refined


class CrossLayerFusion(EncoderLayer):
    """One step of cross-layer fusion: x = P + PMA(P_r, P, P), then x + FFN(x), with layer norms (CAT, Eqs. 4 and 5)."""

    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float, norm_first: bool, attention: str
    ) -> None:
        super().__init__(width, heads, feedforward, dropout, norm_first=norm_first)
        self.pre_max = attention == "pre_max"

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:  # type: ignore[override]
        """
        Args:
            coarse: (B, C, h, w), the refined coarser level: the query.
            fine: (B, C, H, W), the finer level: key and value.

        Returns:
            (B, C, H, W), the refined finer level.
        """
        own = _tokens(fine)
        query = coarse.amax(dim=(2, 3)).unsqueeze(1) if self.pre_max else _tokens(coarse)
        asked, told = (self.norm1(query), self.norm1(own)) if self.norm_first else (query, own)
        heard = self.multi_head_attention(asked, told)  # pre-max: (B, 1, C), for every position alike
        if not self.pre_max:
            heard = _tokens(F.interpolate(_map(heard, coarse), size=fine.shape[2:], mode="nearest"))
        return _map(self.added(own, heard), fine)


def _tokens(level: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h * w, C)."""
    return level.flatten(2).transpose(1, 2)


def _map(tokens: Tensor, like: Tensor) -> Tensor:
    """(B, h * w, C) to (B, C, h, w), with the height and width of `like`."""
    return tokens.transpose(1, 2).unflatten(2, like.shape[2:])
