"""The parts of a transformer layer in plain matrices (Vaswani et al. 2017), for one image and without dropout."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def attention(module: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Multi-head attention with the weights of a module.

    Args:
        query: (Q, d).
        key, value: (T, d).

    Returns:
        The output (Q, d), and the attention weights (heads, Q, T).
    """
    width, heads = module.embed_dim, module.num_heads
    size = width // heads
    assert module.in_proj_weight is not None
    outputs, weights = [], []
    for head in range(heads):
        projected = []
        for number, tokens in enumerate((query, key, value)):
            rows = slice(number * width + head * size, number * width + (head + 1) * size)
            projected.append(tokens @ module.in_proj_weight[rows].T + module.in_proj_bias[rows])
        q, k, v = projected
        similarity = torch.exp(q @ k.T / size**0.5)
        share = similarity / similarity.sum(1, keepdim=True)
        weights.append(share)
        outputs.append(share @ v)
    return torch.cat(outputs, 1) @ module.out_proj.weight.T + module.out_proj.bias, torch.stack(weights)


def layer_norm(module: nn.LayerNorm | None, tokens: Tensor) -> Tensor:
    """Tokens (T, d), each brought to mean 0 and variance 1, then scaled and shifted."""
    assert module is not None
    mean = tokens.mean(1, keepdim=True)
    variance = ((tokens - mean) ** 2).mean(1, keepdim=True)
    return (tokens - mean) / (variance + 1e-5).sqrt() * module.weight + module.bias


def feed_forward(module: nn.Sequential, tokens: Tensor) -> Tensor:
    """Two matrices with a ReLU between them, (T, d) to (T, d)."""
    first, last = module[0], module[-1]
    hidden = tokens @ first.weight.T + first.bias
    return torch.where(hidden > 0, hidden, 0.0) @ last.weight.T + last.bias
