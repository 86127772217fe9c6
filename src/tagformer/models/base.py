"""What every model has in common: a costly `encode`, which does not depend on labels, and a cheap `decode`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError
from tagformer.labels.space import LabelSpace

# Types of options; `create_model` validates the values.
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class ModelOutput:
    """The output of a model for a batch.

    Attributes:
        logits: (B, L), float32; their sigmoid is the probability of each label.
        count_logits: (B, T + 1) for T target labels, from models that count (MlTr, Eq. 17): their softmax is the
            probability that 0, 1, .. T target labels are present. None from other models.

    >>> output = ModelOutput(torch.tensor([[0.0, 2.0]]))
    >>> output.logits.sigmoid()
    tensor([[0.5000, 0.8808]])
    """

    logits: Tensor
    count_logits: Tensor | None = None


_WITHOUT_BIAS = (
    "the model {} {}, so it cannot start from the frequencies of the labels: return the bias (L,) of its logits, or "
    "set model.start_from_frequencies=false."
)


def _gradient(logits: Tensor, last_maps: Sequence[Tensor]) -> Tensor:
    """The gradient of logits (B,) with respect to the last feature map (B, C, h, w).

    Raises:
        TagformerError: they do not depend on it.
    """
    gradient = None
    if last_maps and logits.requires_grad:
        gradient = torch.autograd.grad(logits.sum(), last_maps[0], retain_graph=True, allow_unused=True)[0]
    if gradient is None:
        raise TagformerError(
            "the logits of this model do not depend on the last feature map of its backbone, so Grad-CAM cannot "
            "explain them: define heat_maps in the model."
        )
    return gradient


class MultiLabelModel(nn.Module):
    """Images and known labels to logits: the base class of all models.

    Whatever asks for many predictions per image (clicking labels, a curve over 0, 25, 50 and 75 % known labels) encodes
    the image once and decodes many times.

    A subclass implements `encode_maps` and `decode`, or `encode` instead of the first where the features are not
    computed from the feature maps alone. Its constructor takes the label space and the backbone; the further arguments
    are the options of the model, which need defaults and type hints.

    Attributes:
        label_space: the L labels.
        backbone: computes the feature maps from which `encode` starts; images are normalised with its ``mean`` and
            ``std``.
        uses_known: whether the logits depend on `known`.
        uses_image: whether `encode` reads the images; if not, no image file is opened.
        maps_read: how many feature maps `encode_maps` reads, counted from the coarsest.
        head_prefixes: prefixes of the names of weights that belong to single labels; `train --init` does not copy them.
        default_backbone: name of the backbone if none is given.

    >>> class MaxPool(MultiLabelModel):
    ...     def __init__(self, label_space: LabelSpace, backbone: Backbone) -> None:
    ...         super().__init__(label_space, backbone)
    ...         self.classifier = nn.Linear(backbone.channels[-1], len(label_space))
    ...     def encode_maps(self, maps: Sequence[Tensor]) -> Tensor:
    ...         return maps[-1].amax(dim=(2, 3))
    ...     def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
    ...         return ModelOutput(self.classifier(features))
    >>> from tagformer.backbones import create_backbone
    >>> model = MaxPool(LabelSpace.of(["cat", "dog"]), create_backbone("tiny"))
    >>> model(torch.zeros(1, 3, 64, 64)).logits.shape
    torch.Size([1, 2])
    """

    default_backbone: ClassVar[str] = "resnet50"
    head_prefixes: ClassVar[tuple[str, ...]] = ()
    uses_known: ClassVar[bool] = False
    uses_image: bool = True
    maps_read: int = 1

    def __init__(self, label_space: LabelSpace, backbone: Backbone) -> None:
        super().__init__()
        self.label_space = label_space
        self.backbone = backbone

    def encode(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to features, a tensor (B, ...)."""
        return self.encode_maps(self.backbone(images))

    def encode_maps(self, maps: Sequence[Tensor]) -> Tensor:
        """The rest of `encode` after the backbone, so that a frozen backbone need see each image only once.

        Args:
            maps: the feature maps of the backbone from fine to coarse, each (B, C, h, w); at least the last
                `maps_read` of them.

        Returns:
            Features (B, ...).
        """
        raise NotImplementedError

    @property
    def encodes_maps(self) -> bool:
        """Whether the features depend on the images only through the feature maps, so `encode_maps` can be used."""
        return self.uses_image and type(self).encode_maps is not MultiLabelModel.encode_maps

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Features of `encode` and known labels to logits (B, L).

        Args:
            features: (B, ...).
            known: int8 (B, L) in {1, 0, -1}, or (1, L) if it is the same for all images; None: all labels are unknown.
        """
        raise NotImplementedError

    def forward(self, images: Tensor, known: Tensor | None = None) -> ModelOutput:
        """``decode(encode(images), known)``."""
        return self.decode(self.encode(images), known)

    def last_map(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to the network's last feature map (B, C, h, w)."""
        return self.backbone(images)[-1]

    def embed(self, images: Tensor) -> Tensor:
        """A feature vector per image, to compare images by: the mean of the last map, (B, 3, H, W) to (B, C)."""
        return self.last_map(images).mean(dim=(2, 3))

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """Where in the images the evidence for labels lies; high values mean much evidence.

        This default works for any model: the gradient-weighted class activation map of the backbone's last feature map
        (Selvaraju et al., Grad-CAM, ICCV 2017). Some models override it. Values can be compared within a map, but not
        between maps.

        Args:
            images: normalised (B, 3, H, W).
            labels: K columns of labels.
            known: as in `decode`.

        Returns:
            (B, K, h, w).

        Raises:
            TagformerError: the logits do not depend on the last feature map.
        """
        last_maps: list[Tensor] = []

        def capture(_: nn.Module, __: Any, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            last_maps.append(maps[-1].detach().requires_grad_())
            return (*maps[:-1], last_maps[0])

        hook = self.backbone.register_forward_hook(capture)
        try:
            with torch.inference_mode(False), torch.enable_grad():
                logits = self(images.clone(), known).logits
                gradients = [_gradient(logits[:, i], last_maps) for i in labels]
        finally:
            hook.remove()
        weights = torch.stack(gradients, dim=1).mean(dim=(3, 4))  # (B, K, C)
        return torch.einsum("bkc,bchw->bkhw", weights, last_maps[0].detach()).clamp(min=0)

    @property
    def output_bias(self) -> nn.Parameter:
        """The bias (L,) of the logits; a subclass without one cannot start from frequencies."""
        raise NotImplementedError

    def simplify(self) -> None:
        """Leave out, for inference, what does not change the logits; by default there is nothing of that kind."""

    @torch.no_grad()
    def start_from_frequencies(self, frequencies: Tensor) -> None:
        """Set the bias so that an untrained model predicts about the frequency of each label in the training data.

        With hundreds of rare labels this saves the steps in which a model learns that most labels are absent.

        Args:
            frequencies: (L,), each above 0 and below 1; see `MultiLabelDataset.frequencies`.

        Raises:
            TagformerError: the model has no such bias.
        """
        try:
            bias = self.output_bias
        except (NotImplementedError, AttributeError) as error:
            raise TagformerError(_WITHOUT_BIAS.format(type(self).__name__, "has no output_bias")) from error
        if not isinstance(bias, Tensor) or bias.shape != frequencies.shape:
            reason = f"has an output_bias that is not of shape {tuple(frequencies.shape)}"
            raise TagformerError(_WITHOUT_BIAS.format(type(self).__name__, reason))
        bias.copy_(torch.logit(frequencies))

    @classmethod
    def options(cls) -> dict[str, Any]:
        """The options of the model with their defaults, from the signature of its constructor."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
