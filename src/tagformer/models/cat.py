"""CAT: Cross-layer Aggregation with Transformers (Zhang et al., ICASSP 2022).

The file follows section 2.3 of the paper: the multi-layer image features and the classifiers are those of `FPN`;
`CAT.maps` is long-range dependencies, then cross-layer fusion; `pre_max_attention` is Eqs. 4 and 5. The printed Eqs. 2
and 5 have lost the value term, Eq. 3 the plus sign, and Eq. 5 its operation PM; all are here.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError, check_choice
from tagformer.labels.space import LabelSpace
from tagformer.models.base import Positive, Share
from tagformer.models.fpn import FPN
from tagformer.models.layers.transformer import EncoderLayer

ATTENTIONS = ("pre_max", "full")


class CAT(FPN):
    """A feature pyramid whose levels are aggregated from coarse to fine by attention (CAT, section 2.3).

    - Multi-layer image features: the pyramid P3, P4, P5 of `FPN`.
    - Long-range dependencies (LRD): encoder layers over the positions of P5 give P_r5 = FFN(P5 + MHA(P5))
      (Eqs. 1 to 3).
    - Cross-layer fusion (CLF): the refined coarser level is the query to the next finer level,
      P_r,i = FFN(P_i + PMA(P_r,i+1, P_i, P_i)) (Eqs. 4 and 5; see `pre_max_attention`).
    - Classifier: a linear layer on the maximum of each of P_r3, P_r4 and P_r5; the three logits are summed.
    - Loss: binary cross-entropy (Eq. 8; `tagformer.losses.binary_cross_entropy`).

    There is no positional encoding. The model does not use known labels.

    Args:
        width: channels C of every level. Paper: 1024.
        layers, heads: of the encoder on P5. Paper: 2 and 8. The fusions have the same number of heads.
        feedforward: hidden channels of FFN; None: twice the width.
        dropout: within the encoder and the fusions.
        attention: ``pre_max``: the query is the maximum over the positions of the coarser level. ``full``: every
            position of the coarser level is a query (row "w/o PMA" of Table 3; see `full_attention`).
        lrd: if False, skip the encoder: P_r5 is P5 (row "w/o LRD").
        clf: if False, classify P_r5 only (row "w/o CLF").

    Beyond the paper:
        norm_first: layer norms before each attention and FFN (pre-norm) instead of after each sum (post-norm). With
            pre-norm, positions without an object keep small values, and the maximum ignores them; docs/cat.md has the
            figures. The equations of the paper have no norms; its text calls the encoder "vanilla", which is post-norm.
        standardise: standardise the inputs of the classifiers, as in `FPN`.

    Raises:
        TagformerError: the heads do not divide the width, the attention is unknown, or the backbone has fewer than
            three maps.

    >>> import torch
    >>> from tagformer import create_model
    >>> model = create_model("cat", labels=5, backbone="tiny", width=16)
    >>> [tuple(level.shape) for level in model.pyramid_levels(model.backbone(torch.zeros(1, 3, 64, 64)))]
    [(1, 16, 32, 32), (1, 16, 16, 16), (1, 16, 8, 8)]
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
            raise TagformerError(f"cat: {heads} heads do not divide the width {width}: change one of the two.")
        check_choice("cat: attention", attention, ATTENTIONS)
        sizes = (width, heads, feedforward or 2 * width, dropout)
        self.long_range_dependencies = nn.ModuleList(
            EncoderLayer(*sizes, norm_first=norm_first) for _ in range(layers if lrd else 0)
        )
        self.cross_layer_fusion = nn.ModuleList(
            CrossLayerFusion(*sizes, norm_first, attention) for _ in range(self.levels - 1)
        )

    def pyramid_levels(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The refined levels of the pyramid.

        Args:
            maps: the feature maps of the backbone, from fine to coarse.

        Returns:
            P_r3, P_r4, P_r5, each (B, C, h, w), from fine to coarse; without `clf` P_r5 only.
        """
        *finer_levels, p5 = super().pyramid_levels(maps)  # P3, P4, P5, each (B, C, h, w)

        tokens = to_tokens(p5)  # (B, h * w, C)
        for layer in self.long_range_dependencies:  # Eqs. 1 to 3
            tokens = layer(tokens)
        refined = [to_map(tokens, p5)]  # P_r5

        for fuse, level in zip(self.cross_layer_fusion, reversed(finer_levels), strict=True):  # P4, then P3
            refined.insert(0, fuse(refined[0], level))  # P_r,i from P_r,i+1 and P_i
        return refined


class CrossLayerFusion(EncoderLayer):
    """One step of cross-layer fusion, P_r,i = FFN(P_i + PMA(P_r,i+1, P_i, P_i)) (CAT, section 2.3, "CLF").

    It is an encoder layer with cross-attention, so it also has the residual and the layer norms of `EncoderLayer`.

    Args:
        attention: ``pre_max`` or ``full``, as in `CAT`; the other arguments are those of `EncoderLayer`.
    """

    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float, norm_first: bool, attention: str
    ) -> None:
        super().__init__(width, heads, feedforward, dropout, norm_first=norm_first)
        self.attend = pre_max_attention if attention == "pre_max" else full_attention

    def forward(self, coarser: Tensor, finer: Tensor) -> Tensor:  # type: ignore[override]
        """Refine a level.

        Args:
            coarser: P_r,i+1 (B, C, h, w): the query.
            finer: P_i (B, C, 2h, 2w): key, value and residual.

        Returns:
            P_r,i (B, C, 2h, 2w).
        """
        attended = self.attend(self, coarser, finer)  # (B, 1 or 4hw, C)
        refined = self.add_and_feed_forward(to_tokens(finer), attended)  # (B, 4hw, C)
        return to_map(refined, finer)


def pre_max_attention(layer: EncoderLayer, coarser: Tensor, finer: Tensor) -> Tensor:
    """Multi-head pre-max attention, PMA(P_r,i+1, P_i, P_i) (CAT, Eqs. 4 and 5).

    The operation PM takes the maximum of the query over its positions before the attention. With one query token
    instead of h * w, the products cost 8 h w C multiply-adds (Eq. 7) instead of 8 (h w)^2 C (Eq. 6).

    Args:
        layer: the projections, and the layer norm that precedes them in a pre-norm layer.
        coarser: P_r,i+1 (B, C, h, w): the query.
        finer: P_i (B, C, 2h, 2w): key and value.

    Returns:
        (B, 1, C): one token, which the residual connection adds to every position of P_i.
    """
    query = coarser.amax(dim=(2, 3)).unsqueeze(1)  # PM: (B, C, h, w) -> (B, 1, C)
    key_value = to_tokens(finer)  # (B, C, 2h, 2w) -> (B, 4hw, C)
    return layer.multi_head_attention(layer.pre_norm(query), layer.pre_norm(key_value))  # (B, 1, C)


def full_attention(layer: EncoderLayer, coarser: Tensor, finer: Tensor) -> Tensor:
    """Vanilla attention MHA(P_r,i+1, P_i, P_i) in the place of PMA (CAT, row "w/o PMA" of Table 3; Eq. 6).

    Args:
        layer, coarser, finer: as in `pre_max_attention`.

    Returns:
        (B, 4hw, C): each of the h * w query positions, upsampled onto the finer level.
    """
    query, key_value = to_tokens(coarser), to_tokens(finer)  # (B, hw, C), (B, 4hw, C)
    attended = layer.multi_head_attention(layer.pre_norm(query), layer.pre_norm(key_value))  # (B, hw, C)
    upsampled = F.interpolate(to_map(attended, coarser), size=finer.shape[2:], mode="nearest")  # (B, C, 2h, 2w)
    return to_tokens(upsampled)  # (B, 4hw, C)


def to_tokens(level: Tensor) -> Tensor:
    """The positions of a map as tokens: (B, C, h, w) to (B, h * w, C)."""
    return level.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, like: Tensor) -> Tensor:
    """The reverse of `to_tokens`: (B, h * w, C) to (B, C, h, w), with the height and width of `like`."""
    return tokens.transpose(1, 2).unflatten(2, like.shape[2:])
