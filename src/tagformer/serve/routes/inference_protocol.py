"""``/v2``: the Open Inference Protocol of KServe and Triton, with tensors as JSON.

The inputs are ``image`` (BYTES: encoded images as base64) or ``pixels`` (UINT8: RGB values, rows by columns by 3), and,
where the model uses them, ``known`` (INT8: a row of 1, 0 and -1 per image). The outputs are ``probabilities`` (FP32: a
row per image, a column per label) and, on request, ``labels`` (BYTES: the names of the columns).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from PIL import Image
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tagformer._version import __version__
from tagformer.errors import TagformerError
from tagformer.images.reading import MOST_PIXELS
from tagformer.images.source import ImageSource
from tagformer.labels.space import LabelSpace
from tagformer.serve.http.responses import Json, error_response
from tagformer.serve.http.uploads import Upload
from tagformer.serve.routes.hugging_face import decode_base64
from tagformer.serve.services import Services
from tagformer.serve.work import Served

OUTPUTS = ("probabilities", "labels")
BINARY_HEADER = "inference-header-content-length"


class Tensor(BaseModel):
    """An input: its data row by row, flat or as lists of lists."""

    name: str
    shape: list[int] = Field(max_length=8)
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


class WantedOutput(BaseModel):
    """An output that is wanted."""

    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(BaseModel):
    """The question of a client."""

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[Tensor] = Field(
        min_length=1,
        max_length=3,
        examples=[[{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["/9j/4AAQSkZJRg..."]}]],
    )
    outputs: list[WantedOutput] = Field(default=[], max_length=8)


class Drawn:
    """An image whose pixels a client sent."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def render(self) -> Image.Image:
        """The image."""
        return Image.fromarray(self.pixels)


def router(services: Services) -> APIRouter:
    """The routes of the protocol."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    engine = services.engine

    def model_of(name: str, version: str | None = None) -> Served:
        model = engine.model
        if name != model.name:
            raise HTTPException(404, f"there is no model '{name}': this server has '{model.name}'.")
        if version not in (None, model.version):
            raise HTTPException(404, f"there is no version '{version}': this server has '{model.version}'.")
        return model

    @routes.get("", summary="The server")
    async def server() -> Response:
        """Its name and version; there are no extensions."""
        return Json({"name": "tagformer", "version": __version__, "extensions": []})

    @routes.get("/health/live", summary="Whether the server is there")
    async def live() -> Response:
        """Needs no token."""
        return Json({"live": True})

    @routes.get("/health/ready", summary="Whether the model can be asked")
    async def ready() -> Response:
        """Needs no token."""
        return Json({"ready": True}) if engine.is_alive else error_response(503, "the model does not run.")

    @routes.get("/models/{name}/ready", summary="Whether the model can be asked")
    @routes.get("/models/{name}/versions/{version}/ready", summary="Whether a version of the model can be asked")
    async def model_ready(name: str, version: str | None = None) -> Response:
        """By name, and by version where one is given."""
        model = model_of(name, version)
        if not engine.is_alive:
            return error_response(503, "the model does not run.")
        return Json({"name": model.name, "ready": True})

    @routes.get("/models/{name}", summary="The inputs and outputs of the model")
    @routes.get("/models/{name}/versions/{version}", summary="The inputs and outputs of a version of the model")
    async def metadata(name: str, version: str | None = None) -> Response:
        """Give either `image` or `pixels`; `known` may be left out."""
        model = model_of(name, version)
        count = len(model.tagger.label_space)
        inputs = [
            {"name": "image", "datatype": "BYTES", "shape": [-1]},
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
            {"name": "known", "datatype": "INT8", "shape": [-1, count]},
        ]
        outputs = [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, count]},
            {"name": "labels", "datatype": "BYTES", "shape": [count]},
        ]
        return Json(
            {
                "name": model.name,
                "versions": [model.version],
                "platform": "pytorch_tagformer",
                "inputs": inputs if model.tagger.model.uses_known else inputs[:2],
                "outputs": outputs,
            }
        )

    @routes.post("/models/{name}/infer", summary="Probabilities of all labels")
    @routes.post("/models/{name}/versions/{version}/infer", summary="Probabilities of all labels, by one version")
    async def infer(request: Request, question: InferenceRequest, name: str, version: str | None = None) -> Response:
        """`image` has encoded images as base64, `pixels` RGB values of images of one size."""
        model = model_of(name, version)
        if BINARY_HEADER in request.headers:
            raise TagformerError("binary tensors are not supported: send the data as JSON.")
        wanted = [output.name for output in question.outputs] or ["probabilities"]
        if unknown := [output for output in wanted if output not in OUTPUTS]:
            raise TagformerError(f"there is no output '{unknown[0]}': ask for {' or '.join(OUTPUTS)}.")
        images, known = read_inputs(question.inputs, model.tagger.label_space, services.settings.most_images)
        answers = await engine.results(*engine.tag(images, known))
        space = answers[0].model.tagger.label_space
        rows = [value for answer in answers for value in answer.prediction.probabilities.tolist()]
        outputs = {
            "probabilities": {"datatype": "FP32", "shape": [len(answers), len(space)], "data": rows},
            "labels": {"datatype": "BYTES", "shape": [len(space)], "data": list(space.names)},
        }
        content = {
            "model_name": answers[0].model.name,
            "model_version": answers[0].model.version,
            "outputs": [{"name": output, **outputs[output]} for output in dict.fromkeys(wanted)],
        }
        return Json(content if question.id is None else {**content, "id": question.id})

    return routes


def read_inputs(
    inputs: list[Tensor], label_space: LabelSpace, most_images: int
) -> tuple[list[ImageSource], list[dict[str, bool]]]:
    """The images of a question, and the known labels of each.

    Raises:
        TagformerError: an input that does not exist, does not fit its shape, or is missing.
    """
    by_name = {tensor.name: tensor for tensor in inputs}
    if len(by_name) < len(inputs):
        raise TagformerError("an input is given twice: leave one of the two out.")
    if unknown := [name for name in by_name if name not in ("image", "pixels", "known")]:
        raise TagformerError(f"there is no input '{unknown[0]}': give image or pixels, and known.")
    if ("image" in by_name) == ("pixels" in by_name):
        raise TagformerError("give either the input 'image' or the input 'pixels'.")
    images = _encoded(by_name["image"]) if "image" in by_name else _drawn(by_name["pixels"])
    if not 0 < len(images) <= most_images:
        raise TagformerError(f"{len(images)} images: send from 1 to {most_images} at a time.")
    if "known" not in by_name:
        return images, [{} for _ in images]
    states = _values(by_name["known"], "INT8")
    if by_name["known"].shape != [len(images), len(label_space)]:
        raise TagformerError(f"the input 'known' needs the shape [{len(images)}, {len(label_space)}].")
    if any(state not in (1, 0, -1) for state in states):
        raise TagformerError("the input 'known' has values other than 1, 0 and -1.")
    rows = [states[start : start + len(label_space)] for start in range(0, len(states), len(label_space))]
    return images, [
        {name: state == 1 for name, state in zip(label_space.names, row, strict=True) if state != -1} for row in rows
    ]


def _encoded(tensor: Tensor) -> list[ImageSource]:
    texts = _values(tensor, "BYTES")
    if not all(isinstance(text, str) for text in texts):
        raise TagformerError("the input 'image' has values that are not texts: send each image as base64.")
    return [Upload(f"{number} of the request", decode_base64(text)) for number, text in enumerate(texts, start=1)]


def _drawn(tensor: Tensor) -> list[ImageSource]:
    shape = tensor.shape
    if len(shape) != 4 or shape[3] != 3 or min(shape) < 1 or math.prod(shape[:3]) > MOST_PIXELS:
        raise TagformerError("the input 'pixels' needs the shape [images, rows, columns, 3], none of them 0.")
    values = _values(tensor, "UINT8")
    if not all(isinstance(value, int) and 0 <= value <= 255 for value in values):
        raise TagformerError("the input 'pixels' has values other than whole numbers from 0 to 255.")
    return [Drawn(image) for image in np.array(values, dtype=np.uint8).reshape(shape)]


def _values(tensor: Tensor, datatype: str) -> list[Any]:
    """The data of a tensor as a flat list.

    Raises:
        TagformerError: of another type, or not as many as its shape says.
    """
    if tensor.datatype != datatype:
        raise TagformerError(f"the input '{tensor.name}' is of the type {tensor.datatype[:40]}: send {datatype}.")
    values = tensor.data
    for _ in range(len(tensor.shape) - 1):
        if not any(isinstance(value, list) for value in values):
            break
        values = [part for value in values for part in (value if isinstance(value, list) else [value])]
    if min(tensor.shape, default=0) < 0 or len(values) != math.prod(tensor.shape):
        raise TagformerError(f"the input '{tensor.name}' has {len(values)} values: not as many as its shape says.")
    if any(isinstance(value, list | dict) for value in values):
        raise TagformerError(f"the input '{tensor.name}' has lists in its data that its shape does not have.")
    return values
