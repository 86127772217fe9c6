"""MlTr: the multi-label transformer's classifier with its arc sigmoid and object-aware token (Cheng et al., 2021)."""

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
    """The multi-label transformer: window and cross-window attention, then a network on the mean of the last map.

    It does not use known labels. The `MlTrBackbone` alone can be the backbone of any other model.

    Args:
        backbone: an `MlTrBackbone` (``mltr_s``, ``mltr_m``, ``mltr_l`` or ``mltr_tiny``).
        hidden: width of the hidden layer of both heads; None: the backbone's last channels.
        arc_sigmoid: the scale s of logits s * cos(x, W_i), the angle between the hidden layer and a label's weights
            (Eq. 13), so that they lie within -s and s. None: a linear layer with a bias.
        object_token: a token joins the last stage and tells how many labels are present (Eq. 17).

    Raises:
        TagformerError: a backbone of another kind.
    """

    default_backbone = "mltr_s"
    head_prefixes = ("hidden.", "classifier.", "count_head.")

    def __init__(
        self,
        label_space: LabelSpace,
        backbone: Backbone,
        hidden: Positive | None = None,
        arc_sigmoid: Scale | None = 8.0,
        object_token: bool = True,
    ) -> None:
        super().__init__(label_space, backbone)
        if not isinstance(backbone, MlTrBackbone):
            raise TagformerError("mltr: its backbone must be an MlTr: mltr_s, mltr_m, mltr_l or mltr_tiny.")
        channels, count = backbone.channels[-1], len(label_space)
        hidden = hidden or channels
        self.scale = arc_sigmoid
        self.hidden = nn.Linear(channels, hidden)
        self.classifier = nn.Linear(hidden, count, bias=arc_sigmoid is None)
        self.token = nn.Parameter(0.02 * torch.randn(channels)) if object_token else None
        self.count_head: nn.Module | None = None
        if object_token:
            targets = count - len(label_space.extra)
            self.count_head = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, targets + 1))

    @property
    def output_bias(self) -> nn.Parameter:
        """The bias of the logits.

        Raises:
            TagformerError: with the arc sigmoid there is none.
        """
        if self.classifier.bias is None:
            raise TagformerError(
                "mltr: the arc sigmoid has no bias to start from the labels' frequencies: "
                "leave one out (--set model.start_from_frequencies=false or --set model.options.arc_sigmoid=null)."
            )
        return self.classifier.bias

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the mean of the last map, and the object-aware token where there is one: (B, 2, C)."""
        last, token = self._last(images)
        mean = last.mean(dim=(2, 3))
        return torch.stack([mean] if token is None else [mean, token], dim=1)

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Features (B, 1 or 2, C) to logits (B, L), in float32; `known` changes nothing."""
        counts = None if self.count_head is None else self.count_head(features[:, 1]).float()
        return ModelOutput(self._logits(features[:, 0]), counts)

    def last_map(self, images: Tensor) -> Tensor:
        """The last map (B, C, h, w), after its positions have heard the object-aware token."""
        return self._last(images)[0]

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """The gradient-weighted class activation maps of the last map (B, K, h, w), as for any model.

        The logits see the map's mean alone, so the gradient is the same at every position.
        """
        last, _ = self._last(images)
        with torch.inference_mode(False), torch.enable_grad():
            mean = last.detach().clone().mean(dim=(2, 3)).requires_grad_()
            logits = self._logits(mean)
            weights = [torch.autograd.grad(logits[:, i].sum(), mean, retain_graph=True)[0] for i in labels]
        return torch.einsum("bkc,bchw->bkhw", torch.stack(weights, dim=1), last).clamp(min=0)

    def _last(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The last map (B, C, h, w) and what the object-aware token has become, (B, C)."""
        if self.token is None:
            return self.backbone(images)[-1], None
        assert isinstance(self.backbone, MlTrBackbone)
        maps, token = self.backbone.with_token(images, self.token)
        return maps[-1], token

    def _logits(self, mean: Tensor) -> Tensor:
        hidden = F.gelu(self.hidden(mean))
        with torch.autocast(mean.device.type, enabled=False):  # logits are ranked: they stay in float32
            if self.scale is None:
                return self.classifier(hidden.float())
            return self.scale * F.linear(F.normalize(hidden.float()), F.normalize(self.classifier.weight))
