"""C-Tran: image features and label embeddings as tokens of one transformer encoder (Lanchantin et al., CVPR 2021).

The file has the order of the paper: image feature embeddings (`CTran.encode`), label embeddings and state
embeddings (`CTran.label_tokens`), the transformer encoder and the label classifiers (`CTran.decode`). Label mask
training draws the `known` labels of a training step: `tagformer.labels.masking.label_mask_training`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError, check_choice
from tagformer.labels.space import UNKNOWN, LabelSpace
from tagformer.models.base import ModelOutput, MultiLabelModel, NotNegative, Positive, Share
from tagformer.models.layers.latents import encode_through_latents
from tagformer.models.layers.positions import LearnedPositions, sine_positions
from tagformer.models.layers.transformer import EncoderLayer


class CTran(MultiLabelModel):
    """The Classification Transformer. A label is a token, and its state is an embedding that is added to it.

    - Image feature embeddings: the h * w positions z of the last map of the backbone.
    - Label embeddings: a learned vector l_i per label.
    - State embeddings: l~_i = l_i + s_i, where s_i is zero for an unknown label, and a learned vector for an absent and
      for a present label.
    - Transformer encoder: self-attention over all h * w + L tokens, post-norm with ReLU, as in the authors' code.
    - Label classifiers: logit_i = w_i . l'_i + b_i, with a weight vector per label.

    Args:
        width: channels d of a token; the image features are projected if the backbone has another number of channels.
            None: the channels of the backbone, as in the paper.
        layers, heads: of the encoder. Authors' code: 3 and 4.
        feedforward: hidden channels of the feed-forward networks; None: d, as in the authors' code.
        image: if False, there are no image tokens, and the model reads known labels only (row "no image" of Table 5).
        dropout: within the encoder layers.

    Beyond the paper:
        state_embedding: ``additive``: one vector for absent and one for present, shared by all labels (the paper).
            ``per_label``: two vectors per label, so that a state can mean something else for each label.
        position: positional encoding of the image tokens: ``none`` (the paper), ``learned`` or ``sine``.
        attention_dropout: dropout of the attention weights; None: the same as `dropout`, as in the authors' code. At 0
            torch uses its fused attention, which is three times as fast on a CPU.
        image_dropout: share of the training samples whose image tokens are all set to zero, so that the network learns
            to use the known labels. Paper: 0.
        attention_gain: scales the initial attention output projections. Above 1, attention dominates the residual early
            on, and a small data set needs fewer epochs. Paper: 1.
        image_share: total attention that a token pays to the image tokens before anything is learned; the label tokens
            get the rest. It is set by a constant added to the attention logits. None: every token gets the same
            attention, as in the paper; its 324 image tokens then get 0.8 next to 80 labels. With 25 image tokens and
            374 labels they would get 0.06, and learning from the image would start slowly.
        latents: M; above 0, labels depend on each other through M latent tokens, and the time grows in proportion to
            the labels instead of their square, see `latents`. 0: every token attends to every other, as in the paper.

    Raises:
        TagformerError: heads that do not divide the width, an image share that is not between 0 and 1, an unknown state
            embedding or position.

    >>> import torch
    >>> from tagformer import create_model
    >>> model = create_model("ctran", labels=["cat", "dog"], backbone="tiny", width=16)
    >>> known = torch.tensor([[1, -1]], dtype=torch.int8)  # cat is present, dog is unknown
    >>> model(torch.zeros(1, 3, 64, 64), known).logits.shape
    torch.Size([1, 2])
    """

    uses_known = True
    head_prefixes = ("label_embedding.", "state_embedding.", "classifier_")
    latents: nn.Parameter | None

    def __init__(
        self,
        label_space: LabelSpace,
        backbone: Backbone,
        width: Positive | None = None,
        layers: Positive = 3,
        heads: Positive = 4,
        feedforward: Positive | None = None,
        state_embedding: str = "additive",
        position: str = "none",
        image: bool = True,
        dropout: Share = 0.1,
        attention_dropout: Share | None = None,
        image_dropout: Share = 0.0,
        image_share: float | None = None,
        attention_gain: float = 1.0,
        latents: NotNegative = 0,
    ) -> None:
        super().__init__(label_space, backbone)
        channels, count = backbone.channels[-1], len(label_space)
        width = width or channels
        _check_options(width, heads, state_embedding, position, image_share)
        self.uses_image, self.image_dropout, self.image_share = image, image_dropout, image_share
        self.position = position
        self.learned_positions = LearnedPositions(width) if position == "learned" else None
        self.projection = nn.Identity() if width == channels or not image else nn.Linear(channels, width)
        self.label_embedding = nn.Embedding(count, width)
        # Row 0: unknown, a zero vector that is not trained. Then absent and present, once or once per label.
        rows = 3 if state_embedding == "additive" else 1 + 2 * count
        self.state_embedding = nn.Embedding(rows, width, padding_idx=0)
        self.latents = nn.Parameter(torch.empty(1, latents, width)) if latents else None
        self.norm = nn.LayerNorm(width)
        self.encoder = nn.ModuleList(
            EncoderLayer(width, heads, feedforward or width, dropout, attention_dropout) for _ in range(layers)
        )
        self.classifier_weight = nn.Parameter(torch.empty(count, width))
        self.classifier_bias = nn.Parameter(torch.zeros(count))
        self._initialise(attention_gain)

    @torch.no_grad()
    def _initialise(self, attention_gain: float) -> None:
        """Uniform embeddings and classifiers, as in the authors' code; the unknown state is zero, as in the paper."""
        bound = self.label_embedding.embedding_dim**-0.5
        for weight in (self.label_embedding.weight, self.state_embedding.weight, self.classifier_weight):
            nn.init.uniform_(weight, -bound, bound)
        self.state_embedding.weight[0].zero_()
        if self.latents is not None:
            nn.init.uniform_(self.latents, -bound, bound)
        for name, weight in self.encoder.named_parameters():
            if name.endswith("out_proj.weight"):
                weight.mul_(attention_gain)

    @property
    def output_bias(self) -> nn.Parameter:
        return self.classifier_bias

    def encode(self, images: Tensor) -> Tensor:
        """Image feature embeddings: images (B, 3, H, W) to the tokens z_1, .. z_h*w (B, h * w, d)."""
        if not self.uses_image:
            return images.new_zeros(len(images), 0, self.label_embedding.embedding_dim)
        return super().encode(images)

    def encode_maps(self, maps: Sequence[Tensor]) -> Tensor:
        """The last map of the backbone (B, C, h, w) to image tokens (B, h * w, d)."""
        return self.image_tokens(maps[-1])

    def image_tokens(self, last_map: Tensor) -> Tensor:
        """The last map of the backbone (B, C, h, w) to image tokens (B, h * w, d)."""
        height, width = last_map.shape[2:]
        tokens = self.projection(last_map.flatten(2).transpose(1, 2))  # (B, C, h, w) -> (B, h * w, C) -> (B, h * w, d)
        if self.position == "sine":
            tokens = tokens + sine_positions(height, width, tokens.shape[2], tokens.device).to(tokens.dtype)
        elif self.learned_positions is not None:
            tokens = tokens + self.learned_positions(height, width)
        return tokens

    def label_tokens(self, known: Tensor | None) -> Tensor:
        """Label embeddings plus state embeddings: l~_i = l_i + s_i.

        Args:
            known: int8 (B or 1, L) in {1, 0, -1}; None: all labels are unknown.

        Returns:
            (B or 1, L, d).
        """
        if known is None:
            known = torch.full((1, len(self.label_space)), UNKNOWN, device=self.label_embedding.weight.device)
        rows = known.long() + 1  # -1, 0, 1 are rows 0, 1, 2
        if self.state_embedding.num_embeddings > 3:  # two rows per label
            offsets = 2 * torch.arange(len(self.label_space), device=known.device)
            rows = torch.where(rows > 0, rows + offsets, 0)
        return self.label_embedding.weight + self.state_embedding(rows)

    def encoder_input(self, features: Tensor, labels: Tensor) -> Tensor:
        """The set H: image tokens (B, h * w, d), then label tokens (B or 1, L, d), normalised: (B, h * w + L, d)."""
        labels = labels.to(features.dtype).expand(len(features), -1, -1)
        return self.norm(torch.cat([features, labels], dim=1))

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """The transformer encoder and the label classifiers.

        Args:
            features: image tokens of `encode` (B, h * w, d).
            known: int8 (B or 1, L) in {1, 0, -1}; None: all labels are unknown.

        Returns:
            Logits (B, L), in float32.
        """
        if self.training and self.image_dropout:
            features = features * self._images_kept(features)
        labels = self.label_tokens(known)  # (B or 1, L, d)
        if self.latents is None:
            label_outputs = self._encoded_labels(features, labels)
        else:
            label_outputs = self._encoded_through_latents(features, labels, known)
        with torch.autocast(label_outputs.device.type, enabled=False):  # logits are ranked: they stay in float32
            logits = torch.einsum("bld,ld->bl", label_outputs.float(), self.classifier_weight)
        return ModelOutput(logits + self.classifier_bias)

    def _encoded_labels(self, features: Tensor, labels: Tensor) -> Tensor:
        """The outputs of the encoder for the label tokens (B or 1, L, d): l'_i (B, L, d)."""
        tokens, bias = self.encoder_input(features, labels), self.attention_bias(features)  # (B, h * w + L, d)
        shared = labels.shape[1] if len(labels) == 1 else 0  # the same label tokens for all images: projected once
        for layer in self.encoder[:-1]:
            tokens, shared = layer(tokens, bias, shared=shared), 0
        # Only label tokens are read out, so the last layer computes only those.
        return self.encoder[-1](tokens, bias, last=labels.shape[1], shared=shared)

    def _encoded_through_latents(
        self,
        features: Tensor,
        labels: Tensor,
        known: Tensor | None,
        observe: Callable[[EncoderLayer, Tensor, Tensor], None] = lambda layer, labels, context: None,
    ) -> Tensor:
        """The same for a model with latents, from the label tokens (B or 1, L, d); see `encode_through_latents`."""
        assert self.latents is not None
        image, latents, labels = (self.norm(tokens) for tokens in (features, self.latents, labels))
        bias = self.attention_bias(features, others=latents.shape[1])
        layers = [layer for layer in self.encoder if isinstance(layer, EncoderLayer)]
        return encode_through_latents(layers, image, latents, labels, known, bias, observe)

    def _images_kept(self, features: Tensor) -> Tensor:
        """(B, 1, 1), False for the samples whose image tokens are set to zero by `image_dropout`."""
        return torch.rand(len(features), 1, 1, device=features.device) >= self.image_dropout

    def attention_bias(self, features: Tensor, others: int | None = None) -> Tensor | None:
        """The constant behind `image_share`, added to the attention logits: (1, h * w + L), 0 for label tokens.

        With equal logits otherwise, the h * w image tokens together then get `image_share` of the attention.

        Args:
            features: image tokens (B, h * w, d).
            others: how many other tokens there are; None: the L label tokens.
        """
        if self.image_share is None or not self.uses_image:
            return None
        positions, count = features.shape[1], len(self.label_space) if others is None else others
        bias = features.new_zeros(1, positions + count)
        bias[:, :positions] = math.log(self.image_share / (1 - self.image_share) * count / positions)
        return bias

    def attention(self, features: Tensor, known: Tensor | None = None) -> Tensor:
        """The attention weights alpha_ij of every layer.

        Args:
            features: image tokens of `encode` (B, h * w, d).
            known: as in `decode`.

        Returns:
            (layers, B, heads, T, T) for the T = h * w + L tokens, the image tokens first. Row i has the attention of
            token i to every token; it sums to 1.

        Raises:
            TagformerError: a model with latents, in which not every token attends to every other.
        """
        if self.latents is not None:
            raise TagformerError("ctran: with latents there is no attention of every token to every other.")
        tokens, bias = self.encoder_input(features, self.label_tokens(known)), self.attention_bias(features)
        weights = []
        for layer in self.encoder:
            assert isinstance(layer, EncoderLayer)
            weights.append(layer.attention(tokens, bias))
            tokens = layer(tokens, bias)
        return torch.stack(weights)

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """The attention of each label to each image position, the mean over layers and heads: (B, K, h, w).

        Raises:
            TagformerError: the model has no image tokens.
        """
        if not self.uses_image:
            raise TagformerError("ctran: a model without image tokens (image: false) has no heat maps.")
        last_map = self.backbone(images)[-1]
        features, sides = self.image_tokens(last_map), last_map.shape[2:]
        columns, positions = list(labels), features.shape[1]
        if self.latents is None:
            rows = [positions + column for column in columns]
            return self.attention(features, known).mean(dim=(0, 2))[:, rows, :positions].unflatten(2, sides)
        weights: list[Tensor] = []

        def observe(layer: EncoderLayer, label_tokens: Tensor, context: Tensor) -> None:
            bias = self.attention_bias(features, others=context.shape[1] - positions)
            query = label_tokens[:, columns].expand(len(features), -1, -1)
            weights.append(layer.attention(context, bias, query).mean(1))  # (B, K, N + M)

        self._encoded_through_latents(features, self.label_tokens(known), known, observe)
        return torch.stack(weights).mean(0)[..., :positions].unflatten(2, sides)


def _check_options(width: int, heads: int, state_embedding: str, position: str, image_share: float | None) -> None:
    if width % heads:
        raise TagformerError(f"ctran: {heads} heads do not divide the width {width}: change one of the two.")
    if image_share is not None and not 0 < image_share < 1:
        raise TagformerError(f"ctran: image_share must lie between 0 and 1, not {image_share}.")
    check_choice("ctran: state_embedding", state_embedding, ("additive", "per_label"))
    check_choice("ctran: position", position, ("none", "learned", "sine"))
    if position == "sine" and width % 4:
        raise TagformerError(f"ctran: position sine needs a width that is a multiple of 4, not {width}.")
