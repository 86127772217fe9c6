"""C-Tran on evidence: CSRA's logits are evidence for each label, and C-Tran's encoder weighs it with what is known.

The paper's C-Tran (Lanchantin et al., CVPR 2021) lets label tokens attend to image tokens. Here a label token carries
its state and the logit that CSRA gives the label, and the encoder corrects these logits. On a few thousand photographs
the classifier is learned in seconds, and the encoder has to learn only how labels depend on each other.

The encoder must be trained on *out-of-fold* evidence: logits of classifiers that have not seen the image in training.
Those of the images that a classifier was trained on are too good, and an encoder that reads them learns to trust them
and to ignore known labels. `tagformer.training.stages` does this.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN, LabelSpace
from tagformer.models.base import ModelOutput, NotNegative, Positive, Share
from tagformer.models.csra import CSRA, Weight
from tagformer.models.layers.standardised import SMALLEST_DEVIATION
from tagformer.models.layers.transformer import EncoderLayer

EFFECTS = ("present_effect", "absent_effect")
PRIOR_IMAGES = 3.0  # images with the label's own frequency that are added to each count of co-occurrence


class Evidence(CSRA):
    """Label tokens with state and evidence in one transformer encoder; the output is a correction of the evidence.

    - Evidence: z_i, the logit of CSRA for label i (`CSRA.residual_attention_logits`), and e_i, the same standardised.
    - Label tokens: l_i + s_i + e_i v_i, with a learned vector l_i per label, C-Tran's state embedding s_i (zero for an
      unknown label; for absent and present one vector per label), and a learned direction v_i of the evidence.
    - Transformer encoder: self-attention over the L label tokens, pre-norm.
    - Label classifiers: logit_i = g_i z_i + w_i . l'_i + b_i + the co-occurrence of i with the known labels. The
      weights w_i are zero at first, so that an untrained encoder changes nothing.
    - Co-occurrence: a weight per pair of labels for a known present and for a known absent label, learned from its
      start log(P(i | j present) / P(i)) and log(P(i | j absent) / P(i)) (`start_from_cooccurrence`) before the encoder.

    Args:
        weight, ensemble: of CSRA: lambda, the weight of the maximum beside the mean, and the number of its heads.
        width: channels d of a label token.
        layers, heads, feedforward: of the encoder; feedforward None: d. Without layers a label depends on the others by
            co-occurrence alone, which costs next to nothing where there are hundreds of labels.
        dropout: within the encoder layers.
        evidence_dropout: share of the training samples whose evidence is replaced by the labels' frequencies, so that
            the network learns to use the known labels.
        cooccurrence: add the co-occurrence with the known labels; 2 L^2 weights.

    >>> from tagformer import create_model
    >>> model = create_model("evidence", labels=["cat", "dog"], backbone="tiny", width=16)
    >>> known = torch.tensor([[1, -1]], dtype=torch.int8)  # cat is present, dog is unknown
    >>> model(torch.zeros(1, 3, 64, 64), known).logits.shape
    torch.Size([1, 2])
    """

    uses_known = True
    head_prefixes = (
        *CSRA.head_prefixes,
        "label_embedding.",
        "state_embedding",
        "evidence_",
        "prior_logits",
        "gain",
        "correction_",
        *EFFECTS,
    )
    evidence_mean: Tensor
    evidence_deviation: Tensor
    evidence_scale: Tensor
    prior_logits: Tensor

    def __init__(
        self,
        label_space: LabelSpace,
        backbone: Backbone,
        weight: Weight = 0.9,
        ensemble: Positive = 1,
        width: Positive = 128,
        layers: NotNegative = 2,
        heads: Positive = 4,
        feedforward: Positive | None = None,
        dropout: Share = 0.1,
        evidence_dropout: Share = 0.1,
        cooccurrence: bool = True,
    ) -> None:
        super().__init__(label_space, backbone, weight=weight, ensemble=ensemble)
        if width % heads:
            raise TagformerError(f"evidence: {heads} heads do not divide the width {width}: change one of the two.")
        count = len(label_space)
        self.evidence_dropout = evidence_dropout
        self.label_embedding = nn.Embedding(count, width)
        self.state_embedding = nn.Parameter(torch.empty(2, count, width))  # absent, present
        self.evidence_embedding = nn.Parameter(torch.empty(count, width))
        self.encoder = nn.ModuleList(
            EncoderLayer(width, heads, feedforward or width, dropout, attention_dropout=0.0, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.gain = nn.Parameter(torch.ones(count))
        self.correction_weight = nn.Parameter(torch.zeros(count, width))
        self.correction_bias = nn.Parameter(torch.zeros(count))
        self.present_effect = nn.Parameter(torch.zeros(count, count)) if cooccurrence else None
        self.absent_effect = nn.Parameter(torch.zeros(count, count)) if cooccurrence else None
        self.register_buffer("evidence_mean", torch.zeros(count))
        self.register_buffer("evidence_deviation", torch.ones(count))
        self.register_buffer("evidence_scale", torch.ones(()))
        self.register_buffer("prior_logits", torch.zeros(count))
        for embedding in (self.label_embedding.weight, self.state_embedding, self.evidence_embedding):
            nn.init.normal_(embedding, std=0.3)

    @torch.no_grad()
    def start_from_frequencies(self, frequencies: Tensor) -> None:
        """Set the classifier's bias, and what replaces hidden evidence, to the labels' frequencies (L,)."""
        super().start_from_frequencies(frequencies)
        self.prior_logits.copy_(torch.logit(frequencies))

    @property
    def effects(self) -> dict[str, nn.Parameter]:
        """The co-occurrence weights (L, L) by name, of a known present and of a known absent label; empty without."""
        return {name: value for name, value in self.named_parameters() if name in EFFECTS}

    @torch.no_grad()
    def start_from_cooccurrence(self, labels: Tensor, strength: float) -> None:
        """Set the co-occurrence weights to the log-ratios log(P(i | j) / P(i)) of the training labels.

        P(i | j) = (count(i, j) + 3 P(i)) / (count(j) + 3) over the images on which both labels are annotated.

        Args:
            labels: int8 (N, L).
            strength: multiplies them; the labels are not independent of each other, so 1 counts them several times.
        """
        if not self.effects:
            return
        present, absent = (labels == PRESENT).float(), (labels == ABSENT).float()
        frequency = (present.sum(0) + 0.5) / (present.sum(0) + absent.sum(0) + 1)  # (L,): P(i)
        for effect, condition in zip(self.effects.values(), (present, absent), strict=True):
            both = condition.T @ present  # (L, L): row j, column i
            annotated = condition.T @ (present + absent)
            conditional = (both + PRIOR_IMAGES * frequency) / (annotated + PRIOR_IMAGES)
            effect.copy_(strength * torch.log(conditional / frequency).fill_diagonal_(0))

    @torch.no_grad()
    def weaken_correction(self, share: float) -> None:
        """Keep this share of the trained encoder's correction; 0 leaves the evidence and the co-occurrence."""
        self.gain.copy_(1 + share * (self.gain - 1))
        for value in (self.correction_weight, self.correction_bias):
            value.mul_(share)

    @torch.no_grad()
    def standardise_evidence(self, evidence_logits: Tensor) -> None:
        """Set mean and deviation of the evidence to those of out-of-fold logits (N, L)."""
        self.evidence_mean.copy_(evidence_logits.mean(0))
        self.evidence_deviation.copy_(evidence_logits.std(0, correction=0) + SMALLEST_DEVIATION)

    def simplify(self) -> None:
        """Leave out encoder layers that change nothing, for the correction is zero."""
        if not self.correction_weight.any():
            self.encoder = nn.ModuleList()

    def encoder_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Names and values of all that is trained on evidence: everything but the classifier and the backbone."""
        fixed = ("backbone.", "classifier_")
        return [(name, value) for name, value in self.named_parameters() if not name.startswith(fixed)]

    def encode_maps(self, maps: Sequence[Tensor]) -> Tensor:
        """The last map (B, C, h, w) to the evidence: CSRA's logits (B, L) times `evidence_scale`.

        The logits of a network that was trained further are larger than the out-of-fold logits from which the encoder
        learned what evidence is worth; the scale, chosen on held-out images, makes up for that.
        """
        return self.residual_attention_logits(self.position_features(maps[-1])) * self.evidence_scale

    def label_tokens(self, evidence_logits: Tensor, known: Tensor | None) -> Tensor:
        """Label embeddings, plus state embeddings, plus the standardised evidence: l_i + s_i + e_i v_i.

        Args:
            evidence_logits: (B, L).
            known: int8 (B or 1, L) in {1, 0, -1}; None: all labels are unknown.

        Returns:
            (B, L, d).
        """
        standardised = (evidence_logits - self.evidence_mean) / self.evidence_deviation
        tokens = self.label_embedding.weight + standardised.unsqueeze(2) * self.evidence_embedding
        if known is not None:
            for state, embedding in zip((ABSENT, PRESENT), self.state_embedding, strict=True):
                tokens = tokens + (known == state).unsqueeze(2) * embedding
        return tokens

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Evidence and known labels to logits.

        Args:
            features: the evidence of `encode` (B, L), or out-of-fold logits in its place.
            known: int8 (B or 1, L) in {1, 0, -1}; None: all labels are unknown.

        Returns:
            Logits (B, L), in float32.
        """
        evidence_logits = features.float()
        if self.training and self.evidence_dropout:
            hidden = torch.rand(len(features), 1, device=features.device) < self.evidence_dropout
            tokens = self.label_tokens(torch.where(hidden, self.evidence_mean, evidence_logits), known)
            evidence_logits = torch.where(hidden, self.prior_logits, evidence_logits)
        else:
            tokens = self.label_tokens(evidence_logits, known)
        for layer in self.encoder:
            tokens = layer(tokens)
        with torch.autocast(features.device.type, enabled=False):  # logits are ranked: they stay in float32
            correction = torch.einsum("bld,ld->bl", self.norm(tokens.float()), self.correction_weight)
            logits = self.gain * evidence_logits + correction + self.correction_bias
            return ModelOutput(logits + self.cooccurrence(known))

    def cooccurrence(self, known: Tensor | None) -> Tensor | float:
        """The sum of the weights of all known labels for each label (B or 1, L); 0 where nothing is known."""
        if known is None or self.present_effect is None or self.absent_effect is None or (known == UNKNOWN).all():
            return 0.0
        return (known == PRESENT).float() @ self.present_effect + (known == ABSENT).float() @ self.absent_effect
