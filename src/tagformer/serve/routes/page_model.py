"""What the page asks about the model and its tags: thresholds of labels, training again, export."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from tagformer.answers.writing import export
from tagformer.runs.run import Run
from tagformer.serve.http.responses import Json
from tagformer.serve.services import Services
from tagformer.serve.workspace.exporting import tagged_images
from tagformer.serve.workspace.thresholds import label_table, set_threshold


class Threshold(BaseModel):
    """A new threshold of a label."""

    label: int
    threshold: Annotated[float, Field(gt=0, lt=1)]


class Start(BaseModel):
    """A training."""

    minutes: Annotated[float, Field(ge=0.5, le=10_000)] = 2.0


def router(services: Services) -> APIRouter:
    """The routes; none where there is no page."""
    routes = APIRouter(prefix="/page", include_in_schema=False)
    workspace, loop = services.workspace, services.loop
    if workspace is None or loop is None:
        return routes

    @routes.get("/labels")
    def labels() -> Response:
        return Json(label_table(workspace))

    @routes.post("/thresholds")
    def thresholds(content: Threshold) -> Response:
        return Json({"version": set_threshold(workspace, Run.load(loop.run), content.label, content.threshold)})

    @routes.get("/export")
    def export_tags(format: str, images: str = "answered", predicted: bool = False) -> Response:
        made = export(format, workspace.names, tagged_images(workspace, images, predicted))
        headers = {"Content-Disposition": f'attachment; filename="{made.name}"', "X-Left-Out": str(len(made.left_out))}
        return Response(made.data, media_type=made.media_type, headers=headers)

    @routes.get("/train")
    def training() -> Response:
        return Json(loop.state())

    @routes.post("/train")
    def start(content: Start) -> Response:
        loop.start(content.minutes)
        return Json(loop.state())

    @routes.post("/train/stop")
    def stop() -> Response:
        loop.stop()
        return Json(loop.state())

    @routes.post("/train/take")
    def take() -> Response:
        loop.take()
        return Json(loop.state())

    @routes.post("/train/leave")
    def leave() -> Response:
        loop.leave()
        return Json(loop.state())

    return routes
