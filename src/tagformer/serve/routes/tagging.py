"""``/v1``: tags of an image, and questions about an image that was sent before."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tagformer.errors import TagformerError
from tagformer.serve.http.parameters import TagParameters, Wanted, known_states, label_names
from tagformer.serve.http.pictures import heat_png
from tagformer.serve.http.responses import Json
from tagformer.serve.http.schemas import (
    DecodeRequest,
    ExplainRequest,
    HeatMaps,
    Suggestions,
    SuggestRequest,
    TaggedImage,
    about,
    tagged,
)
from tagformer.serve.http.uploads import FIELD, FORM, read_uploads
from tagformer.serve.services import Services

BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": BINARY,
            "application/octet-stream": BINARY,
            FORM: {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {
                        FIELD: {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "known": {"type": "string", "example": "dog=yes,cat=no"},
                        "labels": {"type": "string", "example": "dog,cat"},
                        "threshold": {"type": "number", "minimum": 0, "maximum": 1},
                        "top": {"type": "integer", "minimum": 1},
                    },
                }
            },
        },
    }
}
EXAMPLE = {
    "model": {"name": "mine", "version": "0123456789abcdef"},
    "image": {"id": "fZ1o2Xy0m2cJm0v1b1Yb6g", "width": 640, "height": 480},
    "tags": [{"name": "dog", "probability": 0.97, "threshold": 0.4, "known": False}],
}
TAGGED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The tags; a list of such answers for several images.",
        "content": {"application/json": {"example": EXAMPLE}},
    }
}
HEAT: dict[int | str, dict[str, Any]] = {200: {"description": "Numbers, or a PNG.", "content": {"image/png": {}}}}


def router(services: Services) -> APIRouter:
    """The routes of tagging."""
    routes = APIRouter(prefix="/v1", tags=["tagging"])
    engine, settings = services.engine, services.settings

    @routes.post(
        "/tag",
        response_model=TaggedImage | list[TaggedImage],
        responses=TAGGED,
        openapi_extra=BODY,
        summary="Tag an image, or several",
    )
    async def tag(request: Request, parameters: Annotated[TagParameters, Query()]) -> Response:
        """Send the bytes of an image as the body, or one or several in multipart/form-data as `image`.

        The `id` in the answer stands for the image in further questions, until others took its place.
        """
        uploaded = await read_uploads(request, settings.most_images)
        wanted = parameters.with_fields(uploaded.fields).wanted()
        wanted.check(engine.model.tagger.label_space)
        answers = await engine.results(*engine.tag(uploaded.images, wanted.known))
        content = [tagged(answer, wanted) for answer in answers]
        return Json(content[0] if len(content) == 1 else content)

    @routes.post("/decode", response_model=TaggedImage, responses=TAGGED, summary="Tags with other known labels")
    async def decode(question: DecodeRequest) -> Response:
        """Takes the `id` of an answer of `/v1/tag`; the image is not encoded again."""
        wanted = question.wanted()
        wanted.check(engine.model.tagger.label_space)
        (answer,) = await engine.results(engine.decode(question.id, wanted.known))
        return Json(tagged(answer, wanted))

    @routes.post("/suggest", response_model=Suggestions, summary="Which labels to ask about next")
    async def suggest(question: SuggestRequest) -> Response:
        """By the expected information gain of the answer, the largest first."""
        known = Wanted(known_states(question.known))
        known.check(engine.model.tagger.label_space)
        (answer,) = await engine.results(engine.suggest(question.id, known.known, question.count))
        content = [{"name": one.name, "gain": one.gain, "probability": one.probability} for one in answer.value]
        return Json({**about(answer.model, answer.image), "suggestions": content})

    @routes.post("/explain", response_model=HeatMaps, responses=HEAT, summary="Where labels are seen")
    async def explain(question: ExplainRequest) -> Response:
        """As numbers, or as a PNG of one label, to be laid over the image."""
        wanted = Wanted(known_states(question.known), label_names(question.labels))
        wanted.check(engine.model.tagger.label_space)
        if question.format == "png" and len(wanted.labels) > 1:
            raise TagformerError("a PNG shows the heat map of one label: name one, or ask for numbers.")
        (answer,) = await engine.results(engine.explain(question.id, wanted.labels, wanted.known))
        if question.format == "png":
            image = answer.image
            picture = await run_in_threadpool(heat_png, answer.value, 0, image.width, image.height)
            return Response(picture, media_type="image/png")
        maps = [
            {
                "name": tag.name,
                "probability": tag.probability,
                "threshold": tag.threshold,
                "known": tag.known,
                "region": list(answer.value.region),
                "values": heat.tolist(),
            }
            for tag, heat in zip(answer.value.tags, answer.value.maps, strict=True)
        ]
        return Json({**about(answer.model, answer.image), "maps": maps})

    return routes
