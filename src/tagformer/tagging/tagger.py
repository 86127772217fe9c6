"""A run folder loaded for use: tag images, with some labels already known."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import Batch, evaluation_loader, raise_on_bad_images
from tagformer.errors import TagformerError
from tagformer.images.reading import Picture, open_picture
from tagformer.images.transforms import RESIZES, evaluation_transform, normalise
from tagformer.labels.space import UNKNOWN
from tagformer.models.base import MultiLabelModel
from tagformer.models.feedback import FeedbackPropagation
from tagformer.recipes.settings import ImageSettings
from tagformer.runs.run import Run, default_device
from tagformer.tagging.explanation import Corners, Explanation
from tagformer.tagging.prediction import Prediction, Suggestion
from tagformer.tagging.questions import expected_information_gain, label_weights

AnyImage = str | Path | Image.Image | np.ndarray
Known = Mapping[str, bool | int | None]


class Tagger:
    """A model ready for use, with its labels, thresholds and image transform.

    The features of the last `cache_size` images given to `predict` are kept, so that asking again with other known
    labels costs only a decode.

    >>> tagger = Tagger.load("runs/a")  # doctest: +SKIP
    >>> tagger.predict("photo.jpg", known={"dog": True})[0].tags  # doctest: +SKIP
    """

    def __init__(
        self,
        model: MultiLabelModel,
        image: ImageSettings,
        thresholds: Tensor,
        device: str | torch.device | None = None,
        cache_size: int = 64,
        temperature: float = 1.0,
        frequencies: Tensor | None = None,
    ) -> None:
        self.device = torch.device(device) if device else default_device()
        self.model = model.eval().to(self.device)
        self.label_space = model.label_space
        self.thresholds = thresholds
        self.temperature = temperature
        self.label_weights = None if frequencies is None else label_weights(frequencies)
        self.image = image
        self.cache_size = cache_size
        self._transform = evaluation_transform(image.size, image.resize)
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    @classmethod
    def load(cls, run: str | Path, device: str | torch.device | None = None, feedback: bool = False) -> Tagger:
        """
        Args:
            feedback: tell the model what is known by `FeedbackPropagation`, which works with any model.

        Raises:
            TagformerError: not a run folder, or one without weights that fit.
        """
        loaded = Run.load(run)
        model = FeedbackPropagation(loaded.model()) if feedback else loaded.model()
        return cls(
            model,
            loaded.recipe.image,
            loaded.thresholds,
            device,
            temperature=loaded.temperature,
            frequencies=loaded.frequencies,
        )

    def known(self, states: Known | None) -> Tensor:
        """int8 (L,) from names.

        Raises:
            TagformerError: an unknown label, or a model that does not use known labels.
        """
        known = self.label_space.known(states or {})
        if (known != UNKNOWN).any() and not self.model.uses_known:
            raise TagformerError(
                f"the model '{type(self.model).__name__.lower()}' does not use known labels: "
                "leave --known out, use --feedback, or train 'ctran'."
            )
        return known

    @torch.inference_mode()
    def predict(
        self, images: AnyImage | Sequence[AnyImage], known: Known | None = None, batch_size: int = 32
    ) -> list[Prediction]:
        """Tag one image or several; the same labels are known for all of them.

        Args:
            images: paths, PIL images, or uint8 arrays (H, W) or (H, W, 3 or 4).
            known: ``{"dog": True, "cat": False}``.

        Returns:
            One prediction an image, in order.

        Raises:
            BadImageError: an image cannot be read; the message names it.
        """
        given: list[AnyImage] = [images] if isinstance(images, AnyImage) else list(images)
        told = self.known(known)
        predictions: list[Prediction] = []
        for start in range(0, len(given), batch_size):
            part = given[start : start + batch_size]
            features = self._encoded(part)
            names = [str(image) if isinstance(image, str | Path) else "" for image in part]
            predictions += self._decoded(names, features, told)
        return predictions

    @torch.inference_mode()
    def suggest(self, image: AnyImage, known: Known | None = None, count: int = 5) -> list[Suggestion]:
        """The labels to ask about next, the most telling first, by their expected information gain.

        Args:
            known: what is known already; extra labels may be asked about too.
            count: how many to give at most.

        Raises:
            TagformerError: the model does not use known labels.
            BadImageError: the image cannot be read.
        """
        told = self.known(known).to(self.device).unsqueeze(0)
        if not self.model.uses_known:
            raise TagformerError(
                f"the model '{type(self.model).__name__.lower()}' does not use known labels, so no answer tells it "
                "anything: train 'ctran'."
            )
        features = self._encoded([image])
        gain = expected_information_gain(
            self.model, features, told, shortlist=None, temperature=self.temperature, weights=self.label_weights
        )[0]
        found = torch.sigmoid(self.model.decode(features, told).logits[0].float() / self.temperature)
        best = gain.argsort(descending=True, stable=True)[:count].tolist()
        names = self.label_space.names
        return [Suggestion(names[i], gain[i].item(), found[i].item()) for i in best if torch.isfinite(gain[i])]

    @torch.no_grad()
    def explain(self, image: AnyImage, labels: str | Sequence[str] = (), known: Known | None = None) -> Explanation:
        """Where in an image labels are seen; see the model's `heat_maps`.

        Args:
            labels: their names; none: those that are predicted, or the most probable one where none is.

        Raises:
            TagformerError: an unknown or an extra label, or a model that does not look at images.
            BadImageError: the image cannot be read.
        """
        if not self.model.uses_image:
            raise TagformerError("this model does not look at images: it has no heat maps.")
        labels = (labels,) if isinstance(labels, str) else labels
        for name in labels:
            if not self.label_space.is_target[self.label_space.index(name)]:
                raise TagformerError(f"'{name}' is an extra label: the model is told it and never says it.")
        told = self.known(known)
        prediction = self._decoded([""], self._encoded([image]), told)[0]
        ranked = {tag.name: tag for tag in prediction.ranked}
        chosen = [ranked[name] for name in labels] or prediction.tags or prediction.ranked[:1]
        picture = _open(image)
        maps = self.model.heat_maps(
            self._pixels(picture),
            [self.label_space.index(tag.name) for tag in chosen],
            told.to(self.device).unsqueeze(0) if self.model.uses_known else None,
        )
        return Explanation(tuple(chosen), maps[0].float().cpu(), self._region(picture))

    @torch.inference_mode()
    def embed(self, image: AnyImage) -> Tensor:
        """One feature (D,) to compare the image with others by; see the model's `embed`.

        Raises:
            BadImageError: the image cannot be read.
        """
        return self.model.embed(self._pixels(_open(image)))[0].float().cpu()

    @torch.inference_mode()
    def last_map(self, image: AnyImage) -> tuple[Tensor, Corners]:
        """The network's last feature map (C, h, w), and the part of the image that it covers.

        Raises:
            TagformerError: a model that does not look at images.
            BadImageError: the image cannot be read.
        """
        if not self.model.uses_image:
            raise TagformerError("this model does not look at images: it has no feature maps.")
        picture = _open(image)
        return self.model.last_map(self._pixels(picture))[0].float().cpu(), self._region(picture)

    def _pixels(self, picture: Picture) -> Tensor:
        """One image as the model takes it, (1, 3, H, W)."""
        pixels = self._transform(picture).unsqueeze(0).to(self.device)
        return normalise(pixels, *self.image.statistics(self.model.backbone))

    def _region(self, picture: Picture) -> Corners:
        """The part of an image that the model sees: left, top, right and bottom as fractions."""
        left, top, width, height = RESIZES[self.image.resize](picture.width, picture.height)
        across, down = picture.width, picture.height
        return left / across, top / down, (left + width) / across, (top + height) / down

    @torch.inference_mode()
    def stream(
        self,
        paths: Sequence[Path],
        known: Known | None = None,
        batch_size: int = 32,
        workers: int = 2,
        on_bad_image: str = "error",
    ) -> Iterator[tuple[list[Prediction], list[str]]]:
        """Tag many files, reading ahead in other processes.

        Yields:
            A batch's predictions, and one sentence for each of its images that could not be read.
        """
        told = self.known(known)
        unknown = torch.full((len(paths), len(self.label_space)), UNKNOWN, dtype=torch.int8)
        dataset = MultiLabelDataset("the images", self.label_space, paths, unknown, [str(path) for path in paths])
        workers = min(workers, len(paths) // batch_size)
        batch: Batch
        for batch in evaluation_loader(dataset, self._transform, batch_size, workers):
            raise_on_bad_images(batch.bad, on_bad_image)
            predictions = self._decoded(batch.ids, self._encode(batch.images), told) if len(batch) else []
            yield predictions, batch.bad

    def _encode(self, images: Tensor) -> Tensor:
        return self.model.encode(normalise(images.to(self.device), *self.image.statistics(self.model.backbone)))

    def _decoded(self, names: Sequence[str], features: Tensor, told: Tensor) -> list[Prediction]:
        known = told.to(self.device).unsqueeze(0) if self.model.uses_known else None
        logits = self.model.decode(features, known).logits.float()
        probabilities = torch.sigmoid(logits / self.temperature).cpu()
        probabilities = torch.where(told == UNKNOWN, probabilities, told.float())
        return [
            Prediction(name, self.label_space, row, told, self.thresholds)
            for name, row in zip(names, probabilities, strict=True)
        ]

    def _encoded(self, images: Sequence[AnyImage]) -> Tensor:
        """Features (B, ...) of the images, from the cache where they are in it."""
        keys = [_identity(image) for image in images]
        found = {key: self._features[key] for key in keys if key in self._features}
        missing = {key: image for key, image in zip(keys, images, strict=True) if key not in found}
        if missing:
            pixels = torch.stack([self._transform(_open(image)) for image in missing.values()])
            found.update(zip(missing, self._encode(pixels), strict=True))
        for key in keys:
            self._features[key] = found[key]
            self._features.move_to_end(key)
        while len(self._features) > self.cache_size:
            self._features.popitem(last=False)
        return torch.stack([found[key] for key in keys])


def _open(image: AnyImage) -> Picture:
    if isinstance(image, str | Path):
        return open_picture(Path(image))
    return Picture.of(image if isinstance(image, Image.Image) else Image.fromarray(image))


def _identity(image: AnyImage) -> str:
    """What tells two images apart: a file's path, time and size, or the pixels in memory."""
    if isinstance(image, str | Path):
        path = Path(image)
        state = path.stat() if path.exists() else None
        return f"{path.resolve()}/{state.st_mtime_ns}/{state.st_size}" if state else str(path)
    pixels = _open(image).pixels().permute(1, 2, 0).numpy()
    return hashlib.blake2b(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()
