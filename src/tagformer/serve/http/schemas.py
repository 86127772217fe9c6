"""What the API takes and gives, for its description; `tagged` and the others make it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tagformer.serve.http.parameters import THRESHOLD, Threshold, Top, Wanted, known_states, label_names
from tagformer.serve.kept import KeptImage
from tagformer.serve.work import Served, Tagged

KnownLabels = Annotated[
    dict[str, bool | int | str | None] | str,
    Field(description="Labels that are known: an object, or dog=yes,cat=no.", examples=[{"dog": True, "cat": False}]),
]
ImageId = Annotated[str, Field(max_length=200, description="Of an answer of /v1/tag.")]
LabelNames = Annotated[list[str] | str, Field(description="Names of labels: a list, or dog,cat.")]
Count = Annotated[int, Field(ge=1, le=1000)]


class Asked(BaseModel):
    """What every question about an image that was sent before has."""

    model_config = ConfigDict(extra="forbid")

    id: ImageId
    known: KnownLabels = {}


class DecodeRequest(Asked):
    """Other known labels for an image that was sent before."""

    labels: LabelNames = []
    threshold: Threshold = Field(default=None, description=THRESHOLD)
    top: Top = Field(default=None, description="The most probable tags, so many at most.")

    def wanted(self) -> Wanted:
        """The parameters as they are used."""
        return Wanted(known_states(self.known), label_names(self.labels), self.threshold, self.top)


class SuggestRequest(Asked):
    """Which labels to ask about next."""

    count: Count = 5


class ExplainRequest(Asked):
    """Where labels are seen."""

    labels: LabelNames = Field(default=[], description="None: those that are predicted. A PNG shows one.")
    format: str = Field(default="numbers", pattern="^(numbers|png)$", description="numbers or png.")


class ModelName(BaseModel):
    """The model that answered; other weights or thresholds have another version."""

    name: str
    version: str


class ImageSize(BaseModel):
    """An image: its id for further questions, and its upright size in pixels."""

    id: str
    width: int
    height: int


class TagAnswer(BaseModel):
    """A tag; the threshold is that of the label, whatever was asked for."""

    name: str
    probability: float
    threshold: float
    known: bool


class TaggedImage(BaseModel):
    """The tags of an image, the most probable first."""

    model: ModelName
    image: ImageSize
    tags: list[TagAnswer]


class SuggestionAnswer(BaseModel):
    """A label to ask about, and how much the answer is expected to tell, in weighted bits."""

    name: str
    gain: float
    probability: float


class Suggestions(BaseModel):
    """Labels to ask about, the most telling first."""

    model: ModelName
    image: ImageSize
    suggestions: list[SuggestionAnswer]


class HeatMap(BaseModel):
    """Where a label is seen: rows of numbers, over a part of the image (left, top, right, bottom, as fractions)."""

    name: str
    probability: float
    threshold: float
    known: bool
    region: tuple[float, float, float, float]
    values: list[list[float]]


class HeatMaps(BaseModel):
    """Heat maps; their values can be compared within a map, not between maps."""

    model: ModelName
    image: ImageSize
    maps: list[HeatMap]


class LabelAnswer(BaseModel):
    """A label; an extra label is an input only, and never predicted."""

    name: str
    threshold: float
    extra: bool
    group: str | None
    frequency: float | None


class Labels(BaseModel):
    """The labels of the model, in the order of its columns."""

    model: ModelName
    uses_known: bool
    labels: list[LabelAnswer]


class ErrorAnswer(BaseModel):
    """What went wrong, in one sentence."""

    error: str


def model_name(model: Served) -> dict[str, str]:
    """As `ModelName`."""
    return {"name": model.name, "version": model.version}


def tagged(answer: Tagged, wanted: Wanted) -> dict[str, Any]:
    """As `TaggedImage`."""
    tags = [
        {"name": tag.name, "probability": tag.probability, "threshold": tag.threshold, "known": tag.known}
        for tag in wanted.select(answer.prediction)
    ]
    return {**about(answer.model, answer.image), "tags": tags}


def about(model: Served, image: KeptImage) -> dict[str, Any]:
    """The model and the image of an answer."""
    return {"model": model_name(model), "image": {"id": image.id, "width": image.width, "height": image.height}}
