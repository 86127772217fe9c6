"""Tags from pixels and features that are there already, for code that keeps them itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from tagformer.backbones.base import Backbone
from tagformer.errors import TagformerError
from tagformer.images.preprocessing import Corners, Preprocessing
from tagformer.labels.space import UNKNOWN
from tagformer.models.base import MultiLabelModel
from tagformer.runs.run import default_device
from tagformer.tagging.explanation import Explanation
from tagformer.tagging.prediction import Prediction, Suggestion
from tagformer.tagging.questions import expected_information_gain, label_weights

Known = Mapping[str, bool | int | None]


class EncodedTagger:
    """A model with its labels, thresholds and preprocessing, which works on pixels and features; see `Tagger`.

    >>> import tagformer, torch
    >>> from tagformer.images import Preprocessing
    >>> from tagformer.tagging.encoded import EncodedTagger
    >>> model = tagformer.create_model("ctran", ["boat", "dog", "sea"], "tiny", width=16)
    >>> tagger = EncodedTagger(model, Preprocessing(size=32), thresholds=torch.full((3,), 0.5), device="cpu")
    >>> features = tagger.encode(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    >>> known = torch.stack([tagger.known({"boat": True}), tagger.known({})])
    >>> first, second = tagger.predictions(tagger.logits(features, known), known)
    >>> first.probabilities[0], bool(second.probabilities[0] < 1)
    (tensor(1.), True)
    """

    def __init__(
        self,
        model: MultiLabelModel,
        preprocessing: Preprocessing,
        thresholds: Tensor,
        device: str | torch.device | None = None,
        temperature: float = 1.0,
        frequencies: Tensor | None = None,
    ) -> None:
        self.device = torch.device(device) if device else default_device()
        self.model = model.eval().to(self.device)
        self.label_space = model.label_space
        self.preprocessing = preprocessing
        self.thresholds = thresholds
        self.temperature = temperature
        self.frequencies = frequencies
        self.label_weights = None if frequencies is None else label_weights(frequencies)

    def known(self, states: Known | None) -> Tensor:
        """The known labels as int8 (L,), from their names.

        Raises:
            TagformerError: an unknown label, or a model that does not use known labels.
        """
        known = self.label_space.known(states or {})
        if (known != UNKNOWN).any() and not self.model.uses_known:
            raise TagformerError(
                f"the model '{self._model_name}' does not use known labels: give none, use --feedback, or "
                "train 'ctran'."
            )
        return known

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """uint8 images (B, 3, size, size) of `Preprocessing.transform` to features (B, ...), on the tagger's device."""
        return self.model.encode(self.preprocessing.normalise(images.to(self.device)))

    @torch.inference_mode()
    def encode_with_maps(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """As `encode`, and the maps of the backbone that the model reads, each (B, C, h, w), for `explain_encoded`.

        None where the model does not call its backbone, or not in the usual way (MlTr with its object-aware token).
        """
        captured: list[tuple[Tensor, ...]] = []
        hook = self.model.backbone.register_forward_hook(lambda _, __, maps: captured.append(tuple(maps)))
        try:
            features = self.encode(images)
        finally:
            hook.remove()
        return features, captured[0][-self.model.maps_read :] if len(captured) == 1 else None

    @torch.inference_mode()
    def logits(self, features: Tensor, known: Tensor) -> Tensor:
        """float32 logits (B, L), divided by the temperature: their sigmoid is the probability of each label.

        Args:
            features: (B, ...) of `encode`.
            known: int8 (B, L), or (1, L) where it is the same for all images.
        """
        return self.model.decode(features, self._model_input(known)).logits.float() / self.temperature

    def predictions(self, logits: Tensor, known: Tensor, names: Sequence[str] = ()) -> list[Prediction]:
        """Predictions from logits (B, L) of `logits`, the known labels (B or 1, L), and the names of the images."""
        known = known.cpu().expand(len(logits), -1)
        probabilities = torch.where(known == UNKNOWN, torch.sigmoid(logits).cpu(), known.float())
        return [
            Prediction(name, self.label_space, row, states, self.thresholds)
            for name, row, states in zip(names or [""] * len(logits), probabilities, known, strict=True)
        ]

    @property
    def _model_name(self) -> str:
        return type(self.model).__name__.lower()

    def check_suggests(self) -> None:
        """Check that the model uses known labels; `Tagger.suggest` says what it raises."""
        if not self.model.uses_known:
            raise TagformerError(
                f"the model '{self._model_name}' does not use known labels, so an answer would not change its "
                "predictions: train 'ctran'."
            )

    @torch.inference_mode()
    def suggest_encoded(
        self, features: Tensor, states: Tensor, count: int = 5, shortlist: int | None = None
    ) -> list[Suggestion]:
        """As `suggest`, of features (1, ...) of `encode` and known labels (L,).

        Args:
            shortlist: as in `expected_information_gain`.
        """
        self.check_suggests()
        known = states.to(self.device).unsqueeze(0)
        gain = expected_information_gain(
            self.model, features, known, shortlist=shortlist, temperature=self.temperature, weights=self.label_weights
        )[0]
        probabilities = torch.sigmoid(self.logits(features, known)[0])
        best = gain.argsort(descending=True, stable=True)[:count].tolist()
        names = self.label_space.names
        return [Suggestion(names[i], gain[i].item(), probabilities[i].item()) for i in best if torch.isfinite(gain[i])]

    def check_explains(self, labels: Sequence[str]) -> None:
        """Check that there are heat maps of these labels; `explain` says what it raises."""
        if not self.model.uses_image:
            raise TagformerError("this model does not use images: it has no heat maps.")
        for name in labels:
            if not self.label_space.is_target[self.label_space.index(name)]:
                raise TagformerError(f"'{name}' is an extra label: an input only, so it has no heat map.")

    @torch.no_grad()
    def explain_encoded(
        self,
        pixels: Tensor,
        features: Tensor,
        region: Corners,
        labels: Sequence[str],
        states: Tensor,
        maps: Sequence[Tensor] | None = None,
    ) -> Explanation:
        """As `explain`, of an image whose pixels (1, 3, size, size) and features (1, ...) are there already.

        Args:
            region: of `Preprocessing.region`.
            states: the known labels (L,).
            maps: of `encode_with_maps`, so that the network does not see the image again.
        """
        self.check_explains(labels)
        prediction = self.predictions(self.logits(features, states.unsqueeze(0)), states.unsqueeze(0))[0]
        by_column = {self.label_space.index(tag.name): tag for tag in prediction.ranked}
        tags = [by_column[self.label_space.index(name)] for name in labels] or prediction.tags or prediction.ranked[:1]
        columns = [self.label_space.index(tag.name) for tag in tags]
        images = self.preprocessing.normalise(pixels.to(self.device))
        with nullcontext() if maps is None else _given_maps(self.model.backbone, maps):
            heat = self.model.heat_maps(images, columns, self._model_input(states.unsqueeze(0)))
        return Explanation(tuple(tags), heat[0].float().cpu(), region)

    def _model_input(self, known: Tensor) -> Tensor | None:
        """The known labels (B or 1, L) on the device; None where the model does not use them."""
        return known.to(self.device) if self.model.uses_known else None


@contextmanager
def _given_maps(backbone: Backbone, maps: Sequence[Tensor]) -> Iterator[None]:
    """Within this context the backbone gives these maps, whatever the images are; its hooks are called as always."""
    backbone.forward = lambda images: tuple(maps)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del backbone.forward
