"""C-Tran: image features and label embeddings as tokens of one transformer encoder (Lanchantin et al., CVPR 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError, check_choice
from tagformer.labels.space import UNKNOWN, LabelSpace
from tagformer.models.base import ModelOutput, MultiLabelModel, Positive, Share
from tagformer.models.layers import EncoderLayer, LearnedPositions, sine_positions


class CTran(MultiLabelModel):
    """The Classification Transformer.

    The tokens are the h x w positions z of the backbone's last map and, for each label i, its embedding plus the
    embedding of its state: l~_i = l_i + s_i, where s is the zero vector for unknown, and learned for absent and
    present. The encoder (post-norm, ReLU, as in the authors' code) mixes them all; each label's token meets a weight
    vector of its own: logit_i = w_i . l'_i + b_i. In the paper there is no positional encoding.

    Args:
        width: size d of the tokens; where it differs from the backbone's channels, the image's are projected. None:
            the backbone's channels.
        layers, heads: of the encoder (3 and 4 in the paper's code).
        feedforward: width of the feed-forward networks; None: d, as in the paper's code.
        state_embedding: ``additive``: one vector for absent and one for present, added to every label's embedding, as
            in the paper. ``per_label``: two vectors for each label, which say what it means of *this* label.
        position: what tells image tokens where they are: ``none`` (the paper), ``learned`` or ``sine``.
        image: off, there are no image tokens (the paper's ablation): the model sees known labels alone.
        dropout: within the encoder's layers.
        attention_dropout: of the attention's weights; None: as `dropout`, as in the paper's code. At 0 torch's fused
            attention is used, three times as fast on a CPU.
        image_dropout: share of the training samples whose image tokens are all set to zero, so that the network
            learns to listen to known labels. Not in the paper, where it is 0.
        attention_gain: factor on the first weights of the attention's output projections. Above 1 what a token hears
            outweighs what it is from the first step, and a small data set is learned in fewer epochs; the paper's is 1.
        image_share: how much of its attention a token gives to the image's tokens together before anything is learned;
            the rest goes to the labels. A constant added to the attention's logits sees to it. None: every token counts
            alike, as in the paper, where 324 image tokens meet 80 labels (0.8); with 25 and 374 it would be 0.06, and
            learning from the image starts slowly.

    Raises:
        TagformerError: heads that do not divide the width, an image share that is not between 0 and 1, an
            unknown state embedding or position.
    """

    uses_known = True
    head_prefixes = ("label_embedding.", "state_embedding.", "classifier_")

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
    ) -> None:
        super().__init__(label_space, backbone)
        channels, count = backbone.channels[-1], len(label_space)
        width = width or channels
        if width % heads:
            raise TagformerError(f"ctran: {heads} heads do not divide the width {width}: choose another of the two.")
        if image_share is not None and not 0 < image_share < 1:
            raise TagformerError(f"ctran: image_share must lie between 0 and 1, not {image_share}.")
        check_choice("ctran: state_embedding", state_embedding, ("additive", "per_label"))
        check_choice("ctran: position", position, ("none", "learned", "sine"))
        if position == "sine" and width % 4:
            raise TagformerError(f"ctran: position sine needs a width that is a multiple of 4, not {width}.")
        self.uses_image, self.image_dropout, self.image_share = image, image_dropout, image_share
        self.position = position
        self.learned_positions = LearnedPositions(width) if position == "learned" else None
        self.projection = nn.Identity() if width == channels or not image else nn.Linear(channels, width)
        self.label_embedding = nn.Embedding(count, width)
        # Rows: unknown (zero, and kept so), then absent and present, of all labels together or of each.
        rows = 3 if state_embedding == "additive" else 1 + 2 * count
        self.state_embedding = nn.Embedding(rows, width, padding_idx=0)
        self.norm = nn.LayerNorm(width)
        self.encoder = nn.ModuleList(
            EncoderLayer(width, heads, feedforward or width, dropout, attention_dropout) for _ in range(layers)
        )
        self.classifier_weight = nn.Parameter(torch.empty(count, width))
        self.classifier_bias = nn.Parameter(torch.zeros(count))
        bound = width**-0.5
        for embedding in (self.label_embedding.weight, self.state_embedding.weight, self.classifier_weight):
            nn.init.uniform_(embedding, -bound, bound)
        with torch.no_grad():
            self.state_embedding.weight[0].zero_()
            for name, weight in self.encoder.named_parameters():
                if name.endswith("out_proj.weight"):
                    weight.mul_(attention_gain)

    @property
    def output_bias(self) -> nn.Parameter:
        return self.classifier_bias

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the image tokens (B, h * w, d)."""
        if not self.uses_image:
            return images.new_zeros(len(images), 0, self.label_embedding.embedding_dim)
        return self._image_tokens(self.backbone(images)[-1])

    def _image_tokens(self, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        tokens = self.projection(features.flatten(2).transpose(1, 2))
        if self.position == "sine":
            tokens = tokens + sine_positions(height, width, tokens.shape[2], tokens.device).to(tokens.dtype)
        elif self.learned_positions is not None:
            tokens = tokens + self.learned_positions(height, width)
        return tokens

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Image tokens (B, h * w, d) and known labels (B or 1, L) to logits (B, L)."""
        if self.training and self.image_dropout:
            kept = torch.rand(len(features), 1, 1, device=features.device) >= self.image_dropout
            features = features * kept
        labels = self._label_tokens(known)
        tokens, bias = self._tokens(features, labels), self._attention_bias(features)
        shared = labels.shape[1] if len(labels) == 1 else 0
        for layer in self.encoder[:-1]:
            tokens, shared = layer(tokens, bias, shared=shared), 0
        # Of the image's tokens nothing is asked at the end.
        tokens = self.encoder[-1](tokens, bias, last=labels.shape[1], shared=shared)
        with torch.autocast(tokens.device.type, enabled=False):  # logits are ranked: they stay in float32
            logits = torch.einsum("bld,ld->bl", tokens.float(), self.classifier_weight)
        return ModelOutput(logits + self.classifier_bias)

    def attention(self, features: Tensor, known: Tensor | None = None) -> Tensor:
        """The attention weights of every layer, (layers, B, heads, T, T) for T = h * w + L tokens, the image's first.

        Row t holds how much token t hears of each token; it sums to 1.
        """
        tokens, bias = self._tokens(features, self._label_tokens(known)), self._attention_bias(features)
        weights = []
        for layer in self.encoder:
            assert isinstance(layer, EncoderLayer)
            weights.append(layer.attention(tokens, bias))
            tokens = layer(tokens, bias)
        return torch.stack(weights)

    def heat_maps(self, images: Tensor, labels: Sequence[int], known: Tensor | None = None) -> Tensor:
        """How much of its attention each label gives to each position of the image, the mean over layers and heads.

        Raises:
            TagformerError: the model has no image tokens.
        """
        if not self.uses_image:
            raise TagformerError("ctran: a model without an image has no heat maps.")
        features = self.backbone(images)[-1]
        positions = features.shape[2] * features.shape[3]
        attention = self.attention(self._image_tokens(features), known).mean(dim=(0, 2))
        return attention[:, positions:, :positions][:, list(labels)].unflatten(2, features.shape[2:])

    def _label_tokens(self, known: Tensor | None) -> Tensor:
        """The labels with their states, (B or 1, L, d), of known labels (B or 1, L)."""
        if known is None:
            known = torch.full((1, len(self.label_space)), UNKNOWN, device=self.label_embedding.weight.device)
        rows = known.long() + 1  # -1, 0, 1 are rows 0, 1, 2
        if self.state_embedding.num_embeddings > 3:
            own = 2 * torch.arange(len(self.label_space), device=known.device)
            rows = torch.where(rows > 0, rows + own, 0)
        return self.label_embedding.weight + self.state_embedding(rows)

    def _tokens(self, features: Tensor, labels: Tensor) -> Tensor:
        """(B, h * w + L, d): the image tokens, then the labels, normalised."""
        labels = labels.to(features.dtype).expand(len(features), -1, -1)
        return self.norm(torch.cat([features, labels], dim=1))

    def _attention_bias(self, features: Tensor) -> Tensor | None:
        """(1, h * w + L): what makes the h * w image tokens weigh `image_share` where all keys match alike."""
        if self.image_share is None or not self.uses_image:
            return None
        positions, count = features.shape[1], len(self.label_space)
        bias = features.new_zeros(1, positions + count)
        bias[:, :positions] = math.log(self.image_share / (1 - self.image_share) * count / positions)
        return bias
