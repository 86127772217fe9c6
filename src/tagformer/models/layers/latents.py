"""C-Tran for thousands of labels: labels depend on each other through a few latent tokens.

In C-Tran's encoder every token attends to every other, so its time grows with the square of the number of labels. Here
M learned latent tokens collect what is known, and all other tokens attend to the image and to them: the time grows in
proportion to the labels. Latents between two sides of an attention are those of the Set Transformer (Lee et al., ICML
2019; inducing points) and of the Perceiver (Jaegle et al., ICML 2021).

Only known labels carry information about an image. So the latents attend to the image, to each other and to the known
labels alone; with few known there are few keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tagformer.labels.space import UNKNOWN
from tagformer.models.layers.transformer import EncoderLayer

PART = 2048  # labels that are computed at once, so that the memory beside their tokens stays small


def encode_through_latents(
    layers: Sequence[EncoderLayer],
    image: Tensor,
    latents: Tensor,
    labels: Tensor,
    known: Tensor | None,
    bias: Tensor | None = None,
    observe: Callable[[EncoderLayer, Tensor, Tensor], None] = lambda layer, labels, context: None,
) -> Tensor:
    """The outputs of the label tokens, l'_i.

    In each layer, with the layer's weights for all three:

    1. latents attend to the image, the latents and the known labels;
    2. labels attend to the image and the new latents;
    3. the image attends to the image and the new latents; in the last layer nobody would read that.

    Args:
        layers: post-norm.
        image: tokens (B, N, d); N may be 0.
        latents: tokens (1, M, d).
        labels: tokens (B or 1, L, d), with their states.
        known: int8 (B or 1, L) in {1, 0, -1}; None: all labels are unknown.
        bias: added to the attention logits of labels and image, for N image tokens and M latents: (1, N + M).
        observe: called with each layer, its label tokens, and the N + M tokens that they attend to.

    Returns:
        (B, L, d).

    >>> layers = [EncoderLayer(8, 2, 8, dropout=0.0) for _ in range(2)]
    >>> image, latents, labels = torch.zeros(3, 49, 8), torch.zeros(1, 4, 8), torch.zeros(1, 10_000, 8)
    >>> encode_through_latents(layers, image, latents, labels, known=None).shape
    torch.Size([3, 10000, 8])
    """
    known = labels.new_full((1, labels.shape[1]), UNKNOWN) if known is None else known
    known_rows, padding = _known_rows(known, len(image))
    latents = latents.expand(len(image), -1, -1)
    mask = _mask(padding, image, latents)
    for number, layer in enumerate(layers):
        known_labels = torch.take_along_dim(labels.expand(len(image), -1, -1), known_rows.unsqueeze(2), dim=1)
        latents = layer.attend_to(latents, torch.cat([image, latents, known_labels], dim=1), mask)
        context = torch.cat([image, latents], dim=1)
        observe(layer, labels, context)
        labels = torch.cat([layer.attend_to(part, context, bias) for part in labels.split(PART, dim=1)], dim=1)
        if number < len(layers) - 1:
            image = layer.attend_to(image, context, bias)
    return labels


def _known_rows(known: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """The numbers of the known labels of each image, int64 (B, K), and which of these are padding, bool (B, K).

    K is the greatest number of known labels of an image.
    """
    is_known = known != UNKNOWN
    most = int(is_known.sum(1).max())
    flags, rows = is_known.byte().topk(most, dim=1)
    return rows.expand(batch, -1), (flags == 0).expand(batch, -1)


def _mask(padding: Tensor, image: Tensor, latents: Tensor) -> Tensor | None:
    """Added to the attention logits of the latents, (B, 1, 1, N + M + K): minus infinity at padding."""
    if not padding.any():
        return None
    others = padding.new_zeros(len(padding), image.shape[1] + latents.shape[1])
    left_out = torch.cat([others, padding], dim=1)
    return image.new_zeros(left_out.shape).masked_fill(left_out, -torch.inf)[:, None, None]
