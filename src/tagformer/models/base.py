"""What every model has in common: a costly `encode` that knows nothing of labels, and a cheap `decode`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.labels.space import LabelSpace

# What options may be; `create_model` checks them.
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class ModelOutput:
    """What a model says of a batch.

    Attributes:
        logits: (B, L); their sigmoid is the probability of each label.
        count_logits: (B, T + 1) for T target labels, where the model counts: the softmax is the probability that
            0, 1, .. T of them are present.
    """

    logits: Tensor
    count_logits: Tensor | None = None


class MultiLabelModel(nn.Module):
    """Images to logits, with labels that are known already as a second input.

    Everything interactive or swept (clicking labels, 0/25/50/75 % known) encodes once and decodes many times.

    Attributes:
        label_space: the L labels.
        backbone: its feature maps are what `encode` starts from; its ``mean`` and ``std`` normalise the images.
        uses_known: whether `decode` listens to `known`; a model that does not gives the same logits without it.
        uses_image: whether `encode` looks at the images; for a model of labels alone none need be read.
        head_prefixes: how the names of the weights begin that belong to the labels; `train --init` leaves them out.
        default_backbone: the name of the one it gets when none is chosen.
    """

    default_backbone: ClassVar[str] = "resnet50"
    head_prefixes: ClassVar[tuple[str, ...]] = ()
    uses_known: ClassVar[bool] = False
    uses_image: bool = True

    def __init__(self, label_space: LabelSpace, backbone: Backbone) -> None:
        super().__init__()
        self.label_space = label_space
        self.backbone = backbone

    def encode(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to features (B, ...), whose first dimension is the batch."""
        raise NotImplementedError

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Features of `encode` and known labels to logits (B, L).

        Args:
            features: (B, ...).
            known: int8 (B, L) in {1, 0, -1}, or (1, L) where they are the same for all images; None: nothing known.
        """
        raise NotImplementedError

    def forward(self, images: Tensor, known: Tensor | None = None) -> ModelOutput:
        """``decode(encode(images), known)``."""
        return self.decode(self.encode(images), known)

    def last_map(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to the network's last feature map (B, C, h, w)."""
        return self.backbone(images)[-1]

    def embed(self, images: Tensor) -> Tensor:
        """One feature for each of the images (B, 3, H, W), to compare them by: the mean of the last map, (B, C)."""
        return self.last_map(images).mean(dim=(2, 3))

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """Where in the images these labels are seen: (B, K, h, w) for K columns of labels, the higher the more.

        Here, for any model: the gradient-weighted class activation map of the backbone's last feature map (Selvaraju et
        al., Grad-CAM, ICCV 2017). Some models have better ones. Values can be compared within a map, not between maps.

        Args:
            images: normalised (B, 3, H, W).
            labels: columns of the labels.
            known: as `decode` takes it.
        """
        kept: list[Tensor] = []

        def keep(_: nn.Module, __: Any, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            kept.append(maps[-1].detach().requires_grad_())
            return (*maps[:-1], kept[0])

        hook = self.backbone.register_forward_hook(keep)
        try:
            with torch.inference_mode(False), torch.enable_grad():
                logits = self(images.clone(), known).logits
                gradients = [torch.autograd.grad(logits[:, i].sum(), kept[0], retain_graph=True)[0] for i in labels]
        finally:
            hook.remove()
        weights = torch.stack(gradients, dim=1).mean(dim=(3, 4))
        return torch.einsum("bkc,bchw->bkhw", weights, kept[0].detach()).clamp(min=0)

    @property
    def output_bias(self) -> nn.Parameter:
        """The bias (L,) of the logits."""
        raise NotImplementedError

    @torch.no_grad()
    def start_from_frequencies(self, frequencies: Tensor) -> None:
        """Set the bias so that an untrained model gives each label about its frequency in the training data.

        With hundreds of rare labels this saves the steps in which a model learns that most are absent.

        Args:
            frequencies: (L,), each above 0 and below 1; see `MultiLabelDataset.frequencies`.
        """
        self.output_bias.copy_(torch.logit(frequencies))

    @classmethod
    def options(cls) -> dict[str, Any]:
        """The model's own options with their defaults, from its constructor's signature."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
