"""MlTr, the multi-label transformer: its two heads, the arc sigmoid and the object-aware token (Cheng et al., 2021).

The network with its attention (sections 3.1.1 to 3.1.4) is `tagformer.backbones.mltr`; the losses (section 3.2) are
`tagformer.losses.asymmetric_loss` (Eqs. 14 to 16) and `tagformer.losses.count_loss` (Eq. 17); a recipe adds them up
(Eq. 18, ``loss.count_weight`` 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tagformer.backbones.base import Backbone
from tagformer.backbones.mltr.network import MlTrBackbone
from tagformer.errors import TagformerError
from tagformer.labels.space import LabelSpace
from tagformer.models.base import ModelOutput, MultiLabelModel, Positive

Scale = Annotated[float, Field(gt=0)]


class MlTr(MultiLabelModel):
    """The multi-label transformer (MlTr, section 3.1.1): two heads on an `MlTrBackbone`.

    - The pixel tokens of the last stage are averaged and go through an MLP with one hidden layer to the logits.
    - The object-aware token joins the last stage and goes through another MLP to the count logits.

    The model does not use known labels. An `MlTrBackbone` can also be the backbone of every other model.

    Args:
        backbone: an `MlTrBackbone` (``mltr_s``, ``mltr_m``, ``mltr_l`` or ``mltr_tiny``).
        hidden: channels of the hidden layer of both heads; None: the channels of the last map.
        arc_sigmoid: the scale s of the arc sigmoid, by which the logits lie between -s and s (Eq. 13). Paper: 8.
            None: a linear layer with a bias (Eq. 11).
        object_aware_token: if False, there is no such token and the labels are not counted (Table 5).

    Raises:
        TagformerError: the backbone is not an `MlTrBackbone`.

    >>> import torch
    >>> from tagformer import create_model
    >>> output = create_model("mltr", labels=3, backbone="mltr_tiny", pretrained=False)(torch.zeros(1, 3, 96, 96))
    >>> output.logits.shape, output.count_logits.shape
    (torch.Size([1, 3]), torch.Size([1, 4]))
    """

    default_backbone = "mltr_s"
    head_prefixes = ("hidden.", "classifier.", "count_head.")

    def __init__(
        self,
        label_space: LabelSpace,
        backbone: Backbone,
        hidden: Positive | None = None,
        arc_sigmoid: Scale | None = 8.0,
        object_aware_token: bool = True,
    ) -> None:
        super().__init__(label_space, backbone)
        if not isinstance(backbone, MlTrBackbone):
            raise TagformerError("mltr: its backbone must be an MlTr: mltr_s, mltr_m, mltr_l or mltr_tiny.")
        channels, count = backbone.channels[-1], len(label_space)
        hidden = hidden or channels
        self.scale = arc_sigmoid
        self.hidden = nn.Linear(channels, hidden)
        self.classifier = nn.Linear(hidden, count, bias=arc_sigmoid is None)
        self.object_aware_token = nn.Parameter(0.02 * torch.randn(channels)) if object_aware_token else None
        self.count_head: nn.Module | None = None
        if object_aware_token:
            targets = count - len(label_space.extra)
            self.count_head = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, targets + 1))

    @property
    def output_bias(self) -> nn.Parameter:
        """The bias (L,) of the logits.

        Raises:
            TagformerError: with the arc sigmoid there is no bias.
        """
        if self.classifier.bias is None:
            raise TagformerError(
                "mltr: the arc sigmoid has no bias to start from the frequencies of the labels: switch one of the two "
                "off (--set model.start_from_frequencies=false or --set model.options.arc_sigmoid=null)."
            )
        return self.classifier.bias

    def encode(self, images: Tensor) -> Tensor:
        """Images to the average of the pixel tokens and, where there is one, the object-aware token.

        Args:
            images: normalised (B, 3, H, W).

        Returns:
            (B, 2, C), or (B, 1, C) without an object-aware token.
        """
        last_map, token = self._backbone_outputs(images)  # (B, C, h, w), (B, C)
        mean = last_map.mean(dim=(2, 3))  # (B, C)
        return torch.stack([mean] if token is None else [mean, token], dim=1)

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Features (B, 1 or 2, C) to logits (B, L) and count logits (B, T + 1), in float32; `known` changes nothing."""
        count_logits = None if self.count_head is None else self.count_head(features[:, 1]).float()
        return ModelOutput(self.class_head(features[:, 0]), count_logits)

    def class_head(self, mean: Tensor) -> Tensor:
        """The average of the pixel tokens (B, C) to logits (B, L), in float32."""
        hidden = F.gelu(self.hidden(mean))
        with torch.autocast(mean.device.type, enabled=False):  # logits are ranked: they stay in float32
            if self.scale is None:
                return self.classifier(hidden.float())
            return arc_sigmoid(hidden.float(), self.classifier.weight, self.scale)

    def last_map(self, images: Tensor) -> Tensor:
        """The last map (B, C, h, w), whose positions have attended to the object-aware token."""
        return self._backbone_outputs(images)[0]

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """The gradient-weighted class activation maps of the last map (B, K, h, w), as for any model.

        The logits depend on the mean of the map only, so the gradient is the same at every position.
        """
        last_map, _ = self._backbone_outputs(images)
        with torch.inference_mode(False), torch.enable_grad():
            mean = last_map.detach().clone().mean(dim=(2, 3)).requires_grad_()
            logits = self.class_head(mean)
            weights = [torch.autograd.grad(logits[:, i].sum(), mean, retain_graph=True)[0] for i in labels]
        return torch.einsum("bkc,bchw->bkhw", torch.stack(weights, dim=1), last_map).clamp(min=0)

    def _backbone_outputs(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The last map (B, C, h, w) and the object-aware token after the last stage (B, C)."""
        if self.object_aware_token is None:
            return self.backbone(images)[-1], None
        assert isinstance(self.backbone, MlTrBackbone)
        maps, token = self.backbone.forward_with_token(images, self.object_aware_token)
        return maps[-1], token


def arc_sigmoid(x: Tensor, weight: Tensor, scale: float) -> Tensor:
    """The logits of the arc sigmoid: s * cos(theta) for the angle between x and the weights W_j of a label (Eq. 13).

    p = 1 / (1 + exp(-s cos(theta))), so the sigmoid of these logits is the probability. The printed Eqs. 11 and 13
    have lost the minus sign.

    Args:
        x: (N, d).
        weight: (L, d).
        scale: s.

    Returns:
        (N, L), between -s and s.

    >>> x, weight = torch.tensor([[2.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])
    >>> arc_sigmoid(x, weight, scale=8).tolist()
    [[8.0, 0.0, -8.0]]
    """
    return scale * F.linear(F.normalize(x), F.normalize(weight))
