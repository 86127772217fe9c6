"""``/hugging-face``: image classification in the shape of Hugging Face's inference services."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

import torch
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tagformer.errors import TagformerError
from tagformer.serve.http.parameters import validated
from tagformer.serve.http.responses import Json
from tagformer.serve.http.uploads import Upload
from tagformer.serve.services import Services
from tagformer.serve.work import Tagged

TOP = 5  # Hugging Face's own default

Function = Literal["sigmoid", "softmax", "none"]


class Parameters(BaseModel):
    """How many labels, and what their scores are."""

    top_k: int = Field(default=TOP, ge=1, le=1_000_000)
    function_to_apply: Function | None = Field(
        default=None, description="sigmoid (the default), softmax over the labels, or none: the logits."
    )


class ImageQuestion(BaseModel):
    """An image as base64, with parameters."""

    model_config = ConfigDict(extra="forbid")

    inputs: str = Field(description="The image as base64.")
    parameters: Parameters = Parameters()


class Score(BaseModel):
    """A label and its score."""

    label: str
    score: float


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "inputs": {"type": "string", "description": "The image as base64."},
                        "parameters": {"type": "object", "example": {"top_k": 5, "function_to_apply": "sigmoid"}},
                    },
                }
            },
        },
    }
}


def router(services: Services) -> APIRouter:
    """The route in Hugging Face's shape."""
    routes = APIRouter(tags=["Hugging Face"])

    @routes.post(
        "/hugging-face", response_model=list[Score], openapi_extra=BODY, summary="[{label, score}] of an image"
    )
    async def image_classification(request: Request, parameters: Annotated[Parameters, Query()]) -> Response:
        """Send the bytes of an image, or JSON with `inputs` and `parameters`; also InferenceClient's `model=URL`."""
        data = await request.body()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            question = validated(ImageQuestion, data)
            parameters, data = question.parameters, decode_base64(question.inputs)
        if not data:
            raise TagformerError("the request has no image: send its bytes, or JSON with 'inputs'.")
        (answer,) = await services.engine.results(*services.engine.tag([Upload("in the request", data)]))
        return Json(scores(answer, parameters.function_to_apply or "sigmoid")[: parameters.top_k])

    return routes


def scores(answer: Tagged, function: Function) -> list[dict[str, float | str]]:
    """Label and score of all target labels, the highest first."""
    space = answer.prediction.label_space
    columns = torch.nonzero(space.is_target).flatten()
    logits = answer.logits[columns]
    values = {"sigmoid": logits.sigmoid(), "softmax": logits.softmax(0), "none": logits}[function]
    order = values.argsort(descending=True, stable=True).tolist()
    return [{"label": space.names[columns[i]], "score": values[i].item()} for i in order]


def decode_base64(text: str) -> bytes:
    """Bytes from base64, with or without ``data:image/...;base64,`` before it.

    Raises:
        TagformerError: it is something else.

    >>> from tagformer.serve.routes.hugging_face import decode_base64
    >>> decode_base64("R0lG"), decode_base64("data:image/gif;base64,R0lG")
    (b'GIF', b'GIF')
    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TagformerError("the image is not base64: encode its bytes as base64.") from error
