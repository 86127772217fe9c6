"""How a model is evaluated: what it knows, what is scored and by which conventions, as one object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tagformer.features.store import FeatureStore


@dataclass(frozen=True, eq=False)
class EvaluationOptions:
    """Everything that may be chosen about an evaluation; the defaults score the model with no label known.

    Attributes:
        known_shares: shares of the target labels that the model knows, for the known-label curve.
        draws: how many times the known labels are drawn; a figure of the curve is the mean over the draws.
        scored: which labels the curve scores: ``fixed`` or ``unknown``, see `labels.draw_known`.
        known_groups: numbers of groups of extra labels that the model knows, see `labels.draw_groups`.
        extra_known: whether the model knows the extra labels throughout.
        protocol: whose conventions the figures follow, see `metrics.evaluate`.
        threshold: probability from which a label is predicted, one value or (T,) for the target labels; None: that of
            the protocol.
        top_k: how many labels per image count as predicted in the ``top`` figures.
        batch_size: images per batch.
        workers: loader processes.
        on_bad_image: ``error`` or ``skip``.
        store: where the maps of the backbone are remembered; None: each image is read and encoded.

    >>> from tagformer.evaluation import EvaluationOptions
    >>> options = EvaluationOptions(known_shares=(0, 0.25, 0.5, 0.75))
    >>> options.draws, options.scored
    (3, 'fixed')
    """

    known_shares: tuple[float, ...] = ()
    draws: int = 3
    scored: str = "fixed"
    known_groups: tuple[int, ...] = ()
    extra_known: bool = False
    protocol: str = "tagformer"
    threshold: float | Tensor | None = None
    top_k: int = 3
    batch_size: int = 32
    workers: int = 2
    on_bad_image: str = "error"
    store: FeatureStore | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """The options of `metrics.evaluate`."""
        return {"protocol": self.protocol, "threshold": self.threshold, "top_k": self.top_k}
