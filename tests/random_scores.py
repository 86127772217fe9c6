"""Random scores and labels for the tests of metrics."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def random_scores(seed: int, images: int = 40, labels: int = 6, unknown: bool = False) -> tuple[Tensor, Tensor]:
    """Scores float64 (images, labels) from a normal distribution, and labels int8 that do not depend on them."""
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(size=(images, labels)))
    states = torch.from_numpy(rng.integers(-1 if unknown else 0, 2, (images, labels)).astype(np.int8))
    return scores, states
