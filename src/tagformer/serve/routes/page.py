"""The page itself, and what it asks for its images: see serve/static/api.js. None of it is part of the public API."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from tagformer.errors import TagformerError
from tagformer.serve.http.responses import Json
from tagformer.serve.services import Services
from tagformer.serve.workspace.mistakes import find_mistakes
from tagformer.serve.workspace.ordering import Filter, ordered, tops
from tagformer.serve.workspace.pictures import LARGEST, THUMBNAIL
from tagformer.serve.workspace.workspace import Workspace

FOREVER = {"Cache-Control": "private, max-age=86400"}  # the image of a number does not change while the server runs
TOP = 3  # labels below an image of the grid
MOST_ITEMS = 500
STATIC = files("tagformer.serve") / "static"

Person = Annotated[str, Field(max_length=200)]
State = Annotated[int, Field(ge=-1, le=1)]


class Answers(BaseModel):
    """Answers to save: [[image, label, state], ...]."""

    request: Annotated[str, Field(min_length=8, max_length=100)]
    person: Person = ""
    changes: Annotated[list[tuple[int, int, State]], Field(min_length=1, max_length=100_000)]
    focus: int | None = None


class Step(BaseModel):
    """A step back or forth."""

    person: Person = ""
    focus: int | None = None


class Submission(BaseModel):
    """An image that is done, or is not any more."""

    person: Person = ""
    image: int
    done: bool = True


class Confirmation(BaseModel):
    """An answer that was looked at again and is right."""

    person: Person = ""
    image: int
    label: int
    state: Annotated[int, Field(ge=0, le=1)]


class Next(BaseModel):
    """A wish for further images of the queue."""

    person: Person = ""
    count: Annotated[int, Field(ge=1, le=50)] = 1
    after: int | None = None


def router(services: Services) -> APIRouter:
    """The routes of the page; none where the server has no images to answer on."""
    routes = APIRouter(include_in_schema=False)
    workspace = services.workspace
    if workspace is None:
        return routes
    routes.mount("/static", StaticFiles(directory=str(STATIC)), name="static")

    @routes.get("/")
    def page() -> Response:
        return Response((STATIC / "index.html").read_bytes(), media_type="text/html; charset=utf-8")

    @routes.get("/page/state")
    def state(person: Person = "") -> Response:
        return Json({**about(services, workspace), **after(workspace, person)})

    @routes.get("/page/pictures/{image}")
    def picture(image: int) -> Response:
        return _jpeg(workspace, image, LARGEST)

    @routes.get("/page/thumbnails/{image}")
    def thumbnail(image: int) -> Response:
        return _jpeg(workspace, image, THUMBNAIL)

    @routes.get("/page/images")
    def images(
        label: int | None = None,
        state: str = "any",
        sort: str = "queue",
        least: float = 0.0,
        most: float = 1.0,
        limit: Annotated[int, Query(ge=0, le=MOST_ITEMS)] = 200,
    ) -> Response:
        if label is not None:
            workspace.column(label)
        found = ordered(workspace, Filter(label, state, least, most, sort))
        return Json({"images": found, "items": items(workspace, found[:limit], label)})

    @routes.get("/page/items")
    def some_items(keys: str, label: int | None = None) -> Response:
        try:
            numbers = [int(key) for key in keys.split(",") if key][:MOST_ITEMS]
        except ValueError as error:
            raise TagformerError("keys: numbers of images, separated by commas.") from error
        for number in numbers:
            workspace.image(number)
        return Json({"items": items(workspace, numbers, label)})

    @routes.get("/page/images/{image}")
    def details(image: int) -> Response:
        return Json(workspace.details(image))

    @routes.get("/page/heat/{image}/{label}")
    def heat(image: int, label: int) -> Response:
        explanation = workspace.heat(image, label)
        return Json({"rows": _scaled(explanation.maps[0].tolist()), "region": list(explanation.region)})

    @routes.get("/page/similar/{image}")
    def similar(image: int, count: Annotated[int, Query(ge=1, le=200)] = 30) -> Response:
        workspace.image(image)
        return Json({"images": workspace.looking.similar(image, count)})

    @routes.get("/page/mistakes")
    def mistakes() -> Response:
        return Json(find_mistakes(workspace))

    @routes.post("/page/answers")
    def answers(content: Answers) -> Response:
        workspace.answer(content.person, content.changes, content.request)
        return Json({**after(workspace, content.person), **focused(workspace, content.focus)})

    @routes.post("/page/undo")
    def undo(content: Step) -> Response:
        return _step(workspace, content, redo=False)

    @routes.post("/page/redo")
    def redo(content: Step) -> Response:
        return _step(workspace, content, redo=True)

    @routes.post("/page/confirm")
    def confirm(content: Confirmation) -> Response:
        workspace.confirm(content.person, content.image, content.label, content.state)
        return Json(after(workspace, content.person))

    @routes.post("/page/submit")
    def submit(content: Submission) -> Response:
        workspace.store.submit(workspace.image(content.image), content.person, content.done)
        return Json(after(workspace, content.person))

    @routes.post("/page/next")
    def next_images(content: Next) -> Response:
        return Json({"images": workspace.next_images(content.person, content.count, content.after)})

    @routes.post("/page/leave")
    def leave(content: Annotated[Step, Body()]) -> Response:
        workspace.store.release(content.person)
        return Json({})

    @routes.post("/page/pictures")
    async def add(request: Request) -> Response:
        data = await request.body()
        number = await run_in_threadpool(workspace.add, data)
        return Json({"key": number, **await run_in_threadpool(after, workspace, "")})

    return routes


def about(services: Services, workspace: Workspace) -> dict[str, Any]:
    """The model, its labels, and the images."""
    model = services.engine.model
    tagger, space = model.tagger, model.tagger.label_space
    groups = {name: group for group, members in space.groups.items() for name in members}
    return {
        "model": {
            "name": model.name,
            "version": model.version,
            "uses_known": tagger.model.uses_known,
            "uses_image": tagger.model.uses_image,
        },
        "data": {"name": workspace.title, "images": len(workspace.pictures)},
        "labels": [
            {"name": name, "threshold": threshold, "group": groups.get(name), "extra": name in space.extra}
            for name, threshold in zip(space.names, tagger.thresholds.tolist(), strict=True)
        ],
    }


def after(workspace: Workspace, person: str) -> dict[str, Any]:
    """What every change of the answers changes on the page."""
    undoable, redoable = workspace.store.can_undo(person)
    return {"progress": workspace.progress(), "undoable": undoable, "redoable": redoable}


def focused(workspace: Workspace, image: int | None) -> dict[str, Any]:
    """The image in view, as it is now."""
    return {} if image is None else {"focus": workspace.details(image)}


def items(workspace: Workspace, numbers: list[int], label: int | None) -> list[dict[str, Any]]:
    """What the grid shows of some images."""
    states, submitted = workspace.states(), workspace.store.submitted()
    probabilities = workspace.looking.probabilities
    thresholds = workspace.engine.model.tagger.thresholds.numpy()
    found = []
    for number in numbers:
        known: Mapping[int, int] = states.get(number, {})
        value = None if label is None or number >= len(probabilities) else float(probabilities[number, label])
        found.append(
            {
                "key": number,
                "name": workspace.pictures[number].name,
                "done": workspace.pictures[number].id in submitted,
                "known": {str(column): state for column, state in known.items()},
                "top": tops(probabilities[number], thresholds, TOP) if number < len(probabilities) else [],
                "value": None if value is None or value != value else round(value, 4),
            }
        )
    return found


def _step(workspace: Workspace, content: Step, redo: bool) -> Response:
    cells = workspace.undo(content.person, redo)
    focus = content.focus if cells else None
    return Json({"changes": cells, **after(workspace, content.person), **focused(workspace, focus)})


def _jpeg(workspace: Workspace, image: int, longest: int) -> Response:
    workspace.image(image)
    return Response(workspace.pictures.jpeg(image, longest), media_type="image/jpeg", headers=FOREVER)


def _scaled(rows: list[list[float]]) -> list[list[float]]:
    """Numbers from 0 to 1; all 0 where they are all the same."""
    low, high = min(map(min, rows)), max(map(max, rows))
    width = high - low
    return [[round((value - low) / width, 3) if width else 0.0 for value in row] for row in rows]
