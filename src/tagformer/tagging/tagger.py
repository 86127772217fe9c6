"""A model ready for use: tag images, with some labels already known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import evaluation_loader, raise_on_bad_images
from tagformer.errors import TagformerError
from tagformer.images.preprocessing import Corners, Preprocessing
from tagformer.images.reading import Picture
from tagformer.labels.space import UNKNOWN
from tagformer.models.base import MultiLabelModel
from tagformer.models.feedback import FeedbackPropagation
from tagformer.runs.run import Run
from tagformer.tagging.encoded import EncodedTagger, Known
from tagformer.tagging.explanation import Explanation
from tagformer.tagging.feature_cache import AnyImage, FeatureCache, open_any
from tagformer.tagging.prediction import Prediction, Suggestion


class Tagger(EncodedTagger):
    """A model ready for use, with its labels, thresholds and preprocessing.

    The features of the last `cache_size` images are kept, so that the same image with other known labels costs only a
    decode. `Tagger.load` makes a tagger from a run folder; here is one of an untrained model:

    >>> import tagformer, torch
    >>> from PIL import Image
    >>> from tagformer.images import Preprocessing
    >>> model = tagformer.create_model("ctran", ["boat", "dog", "sea"], "tiny", width=16)
    >>> tagger = tagformer.Tagger(model, Preprocessing(size=32), thresholds=torch.full((3,), 0.5))
    >>> photo = Image.new("RGB", (80, 60))
    >>> prediction = tagger.predict(photo, known={"boat": True, "dog": False})[0]
    >>> [(tag.name, tag.probability) for tag in prediction.ranked if tag.known]
    [('boat', 1.0), ('dog', 0.0)]
    >>> [suggestion.name for suggestion in tagger.suggest(photo, known={"boat": True, "dog": False})]
    ['sea']

    Args:
        model: the model; it is moved to the device and put into evaluation mode.
        preprocessing: how an image becomes the model's input.
        thresholds: float32 (L,), the probability from which each label is predicted.
        device: None: a GPU where there is one.
        cache_size: how many images' features are kept.
        temperature: the probabilities are sigmoid(logits / temperature).
        frequencies: float32 (L,), of the labels in the training data, for `suggest`; None: every label counts alike.
    """

    def __init__(
        self,
        model: MultiLabelModel,
        preprocessing: Preprocessing,
        thresholds: Tensor,
        device: str | torch.device | None = None,
        cache_size: int = 64,
        temperature: float = 1.0,
        frequencies: Tensor | None = None,
    ) -> None:
        super().__init__(model, preprocessing, thresholds, device, temperature, frequencies)
        self._cache = FeatureCache(self._encode_pictures, cache_size)

    @classmethod
    def load(cls, run: str | Path, device: str | torch.device | None = None, feedback: bool = False) -> Tagger:
        """Load a run folder.

        Args:
            run: the folder.
            device: None: a GPU where there is one.
            feedback: give the model known labels by `FeedbackPropagation`, which works with any model.

        Raises:
            TagformerError: not a run folder, or one without weights that fit.
        """
        loaded = Run.load(run)
        model = loaded.model()
        return cls(
            FeedbackPropagation(model) if feedback else model,
            loaded.preprocessing(model.backbone),
            loaded.thresholds,
            device,
            temperature=loaded.temperature,
            frequencies=loaded.frequencies,
        )

    @torch.inference_mode()
    def predict(
        self, images: AnyImage | Sequence[AnyImage], known: Known | None = None, batch_size: int = 32
    ) -> list[Prediction]:
        """Tag one image or several; the same labels are known for all of them.

        Args:
            images: paths, PIL images, or uint8 arrays (H, W) or (H, W, 3 or 4).
            known: ``{"dog": True, "cat": False}``.
            batch_size: images per batch.

        Returns:
            One prediction per image, in order.

        Raises:
            BadImageError: an image cannot be read; the message names it.
        """
        all_images: list[AnyImage] = [images] if isinstance(images, AnyImage) else list(images)
        states = self.known(known)
        predictions: list[Prediction] = []
        for start in range(0, len(all_images), batch_size):
            batch = all_images[start : start + batch_size]
            features = self._cache.features(batch)
            names = [str(image) if isinstance(image, str | Path) else "" for image in batch]
            predictions += self._predictions(names, features, states)
        return predictions

    @torch.inference_mode()
    def suggest(self, image: AnyImage, known: Known | None = None, count: int = 5) -> list[Suggestion]:
        """The labels to ask about next, by expected information gain, the largest first.

        Args:
            image: a path, a PIL image or an array.
            known: the labels known so far; extra labels may be suggested too.
            count: how many suggestions at most.

        Raises:
            TagformerError: the model does not use known labels.
            BadImageError: the image cannot be read.
        """
        states = self.known(known)
        self.check_suggests()
        return self.suggest_encoded(self._cache.features([image]), states, count)

    @torch.no_grad()
    def explain(self, image: AnyImage, labels: str | Sequence[str] = (), known: Known | None = None) -> Explanation:
        """Where in an image labels are seen; see the model's `heat_maps`.

        Args:
            image: a path, a PIL image or an array.
            labels: their names; none: those that are predicted, or the most probable one where none is.
            known: the labels known so far.

        Raises:
            TagformerError: an unknown or an extra label, or a model that does not use images.
            BadImageError: the image cannot be read.
        """
        labels = (labels,) if isinstance(labels, str) else labels
        self.check_explains(labels)
        states = self.known(known)
        picture, features = open_any(image), self._cache.features([image])
        pixels = self.preprocessing.transform(picture).unsqueeze(0)
        return self.explain_encoded(pixels, features, self.preprocessing.region(picture), labels, states)

    @torch.inference_mode()
    def embed(self, image: AnyImage) -> Tensor:
        """One feature (D,) by which the image can be compared with others; see the model's `embed`.

        Raises:
            BadImageError: the image cannot be read.
        """
        return self.model.embed(self.preprocessing.load(open_any(image), self.device))[0].float().cpu()

    @torch.inference_mode()
    def last_map(self, image: AnyImage) -> tuple[Tensor, Corners]:
        """The network's last feature map (C, h, w), and the part of the image that it covers.

        Raises:
            TagformerError: a model that does not use images.
            BadImageError: the image cannot be read.
        """
        if not self.model.uses_image:
            raise TagformerError("this model does not use images: it has no feature maps.")
        picture = open_any(image)
        last_map = self.model.last_map(self.preprocessing.load(picture, self.device))[0].float().cpu()
        return last_map, self.preprocessing.region(picture)

    @torch.inference_mode()
    def stream(
        self,
        paths: Sequence[Path],
        known: Known | None = None,
        batch_size: int = 32,
        workers: int = 2,
        on_bad_image: str = "error",
    ) -> Iterator[tuple[list[Prediction], list[str]]]:
        """Tag many files; other processes read ahead.

        Args:
            paths: the files.
            known: the labels known for all of them.
            batch_size: images per batch.
            workers: loader processes.
            on_bad_image: ``error`` or ``skip``.

        Yields:
            A batch's predictions, and one sentence for each of its images that cannot be read.

        Raises:
            BadImageError: an image cannot be read, and `on_bad_image` is ``error``.
        """
        states = self.known(known)
        no_labels = torch.full((len(paths), len(self.label_space)), UNKNOWN, dtype=torch.int8)
        dataset = MultiLabelDataset("the images", self.label_space, paths, no_labels, [str(path) for path in paths])
        workers = min(workers, len(paths) // batch_size)
        for batch in evaluation_loader(dataset, self.preprocessing.transform, batch_size, workers):
            raise_on_bad_images(batch.bad, on_bad_image)
            predictions = self._predictions(batch.ids, self.encode(batch.images), states) if len(batch) else []
            yield predictions, batch.bad

    def _encode_pictures(self, pictures: Sequence[Picture]) -> Tensor:
        return self.encode(torch.stack([self.preprocessing.transform(picture) for picture in pictures]))

    def _predictions(self, names: Sequence[str], features: Tensor, states: Tensor) -> list[Prediction]:
        """Predictions from features (B, ...), with the same known labels (L,) for all images."""
        return self.predictions(self.logits(features, states.unsqueeze(0)), states.unsqueeze(0), names)
