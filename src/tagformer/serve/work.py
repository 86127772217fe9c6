"""What the threads of the engine do: images are read, encoded in batches, and decoded with their known labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from tagformer.errors import BadImageError, TagformerError
from tagformer.images.preprocessing import Corners
from tagformer.images.reading import encoded_bytes, open_picture, read_header
from tagformer.images.source import ImageSource, Rendered
from tagformer.serve.batching import Job
from tagformer.serve.instruments import Instruments
from tagformer.serve.kept import KeptImage, KeptImages, NotKeptError
from tagformer.tagging.encoded import EncodedTagger, Known
from tagformer.tagging.explanation import Explanation
from tagformer.tagging.prediction import Prediction

T = TypeVar("T")
KINDS = frozenset(
    {"AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"}
)  # Pillow's names of the formats that are read


@dataclass(frozen=True, eq=False)
class Served:
    """The model that is in use.

    Attributes:
        tagger: the model with its labels.
        name, version: in answers.
    """

    tagger: EncodedTagger
    name: str
    version: str


@dataclass(frozen=True, eq=False)
class Tagged:
    """The answer for one image.

    Attributes:
        image: as it is kept.
        prediction: its probabilities.
        logits: float32 (L,), divided by the temperature.
        model: that computed them.
    """

    image: KeptImage
    prediction: Prediction
    logits: Tensor
    model: Served


@dataclass(frozen=True, eq=False)
class Answered(Generic[T]):
    """The answer to a question about one image.

    Attributes:
        value: the answer.
        image: as it is kept.
        model: that computed it.
    """

    value: T
    image: KeptImage
    model: Served


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image that was read, and waits to be encoded.

    Attributes:
        pixels: uint8 (3, size, size).
        width, height, region: as in `KeptImage`.
        known: labels that are known.
        model: by which it is encoded.
    """

    pixels: Tensor
    width: int
    height: int
    region: Corners
    known: Known
    model: Served


@dataclass(frozen=True, eq=False)
class Decode:
    """Other known labels for an image that is kept."""

    image: KeptImage
    known: Known


@dataclass(frozen=True, eq=False)
class Ask:
    """Anything else about an image that is kept."""

    image: KeptImage
    ask: Callable[[Served, KeptImage], Any]


def read_image(image: ImageSource, known: Known, model: Served) -> ReadImage:
    """Read an image of one of the usual formats.

    Raises:
        BadImageError: it is broken, too large, or of another format.
    """
    data = None if isinstance(image, Rendered) else encoded_bytes(image)
    if data is not None and not isinstance(image, Rendered):
        kind = read_header(image, data).kind
        if kind not in KINDS:
            raise BadImageError(f"image {image} is a {kind} file: send it as JPEG, PNG, WebP, GIF, TIFF or BMP.")
    picture, preprocessing = open_picture(image, data), model.tagger.preprocessing
    pixels = preprocessing.transform(picture)
    return ReadImage(pixels, picture.width, picture.height, preprocessing.region(picture), known, model)


def answer_images(
    jobs: Sequence[Job[ReadImage, Tagged]], _: Served, kept: KeptImages, instruments: Instruments
) -> None:
    """Encode and decode images, in one batch for each model that they were read for; there are two after a change."""
    for model in {job.question.model for job in jobs}:
        batch = [job for job in jobs if job.question.model is model]
        features, maps = model.tagger.encode_with_maps(torch.stack([job.question.pixels for job in batch]))
        instruments.encoded_batch.observe(len(batch))
        images = []
        for number, job in enumerate(batch):
            read = job.question
            row = features[number].clone()
            image = KeptImage(read.pixels, row, read.width, read.height, read.region, model.version)
            kept.add(image, None if maps is None else tuple(one[number : number + 1].clone() for one in maps))
            images.append(image)
        _decode(batch, images, [job.question.known for job in batch], model)


def answer_quick(
    jobs: Sequence[Job[Decode | Ask, Any]], model: Served, kept: KeptImages, instruments: Instruments
) -> None:
    """Answer questions about images that are kept: new known labels in one batch, the others one after the other."""
    current: dict[str, KeptImage] = {}
    for job in jobs:
        try:
            current[job.question.image.id] = _of_model(job.question.image, model, kept)
        except TagformerError as error:
            job.fail(error)
    decodes = []
    for job in jobs:
        image = current.get(job.question.image.id)
        if image is None:
            continue
        try:
            if isinstance(job.question, Decode):
                model.tagger.known(job.question.known)  # another model may have other labels
                decodes.append((job, image, job.question.known))
            else:
                job.answer(Answered(job.question.ask(model, image), image, model))
        except Exception as error:
            job.fail(error)
    if decodes:
        instruments.decoded_batch.observe(len(decodes))
        wanted, images, known = zip(*decodes, strict=True)
        _decode(wanted, images, known, model)


def explain(image: KeptImage, model: Served, kept: KeptImages, labels: Sequence[str], known: Known) -> Explanation:
    """Where labels are seen in an image; its maps are kept, so that the next question does not encode it again."""
    tagger, pixels, maps = model.tagger, image.pixels.unsqueeze(0), kept.maps(image)
    if maps is None:
        computed = tagger.encode_with_maps(pixels)[1]
        if computed is not None:
            maps = tuple(one.clone() for one in computed)
            kept.add(image, maps)
    features = image.features.unsqueeze(0)
    return tagger.explain_encoded(pixels, features, image.region, labels, tagger.known(known), maps)


def _of_model(image: KeptImage, model: Served, kept: KeptImages) -> KeptImage:
    """The image with the features of the model that is in use.

    Raises:
        NotKeptError: the model needs other pixels.
    """
    if image.version == model.version:
        return image
    if image.pixels.shape[-1] != model.tagger.preprocessing.size:
        raise NotKeptError("the model was replaced, and this image is no longer kept: send it again.")
    image = replace(image, features=model.tagger.encode(image.pixels.unsqueeze(0))[0].clone(), version=model.version)
    kept.add(image)
    return image


def _decode(
    jobs: Sequence[Job[Any, Tagged]], images: Sequence[KeptImage], known: Sequence[Known], model: Served
) -> None:
    """Answer jobs from the features of their images and their known labels, in one batch."""
    states = torch.stack([model.tagger.known(one) for one in known])
    logits = model.tagger.logits(torch.stack([image.features for image in images]), states)
    predictions = model.tagger.predictions(logits, states)
    for job, image, prediction, row in zip(jobs, images, predictions, logits.float().cpu(), strict=True):
        job.answer(Tagged(image, prediction, row, model))
