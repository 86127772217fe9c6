"""``/v1/labels``."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from tagformer.serve.http.responses import Json
from tagformer.serve.http.schemas import Labels, model_name
from tagformer.serve.services import Services


def router(services: Services) -> APIRouter:
    """The route of the labels."""
    routes = APIRouter(tags=["tagging"])

    @routes.get("/v1/labels", response_model=Labels, summary="The labels of the model")
    async def labels() -> Response:
        """In the order of the model's columns, each with its threshold, group, and share of the training data."""
        model = services.engine.model
        tagger, space = model.tagger, model.tagger.label_space
        groups = {name: group for group, members in space.groups.items() for name in members}
        frequencies = [None] * len(space) if tagger.frequencies is None else tagger.frequencies.tolist()
        rows = zip(space.names, tagger.thresholds.tolist(), frequencies, strict=True)
        content = [
            {
                "name": name,
                "threshold": threshold,
                "extra": name in space.extra,
                "group": groups.get(name),
                "frequency": frequency,
            }
            for name, threshold, frequency in rows
        ]
        return Json({"model": model_name(model), "uses_known": tagger.model.uses_known, "labels": content})

    return routes
