"""``/label-studio``: an ML backend for Label Studio: predictions, with what a person chose so far as known labels."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tagformer.errors import BadImageError, TagformerError
from tagformer.labels.space import ABSENT, UNKNOWN, LabelSpace
from tagformer.serve.engine import Engine
from tagformer.serve.hooks import AnnotationEvent
from tagformer.serve.http.responses import Json
from tagformer.serve.http.uploads import Upload
from tagformer.serve.label_studio.config import Control, parse_config
from tagformer.serve.label_studio.fetching import Fetcher
from tagformer.serve.label_studio.tasks import (
    certainty,
    chosen_results,
    chosen_states,
    image_address,
    prediction_results,
    task_name,
)
from tagformer.serve.services import Services
from tagformer.serve.work import Tagged

ANNOTATIONS = tuple(f"ANNOTATION{many}_{what}" for many in ("", "S") for what in ("CREATED", "UPDATED", "DELETED"))
START_TRAINING = "START_TRAINING"
MOST_TASKS = 1000
CONFIG = (
    "<View><Image name='photo' value='$image'/>"
    "<Choices name='tags' toName='photo' choice='multiple'><Choice value='dog'/></Choices></View>"
)
log = logging.getLogger(__name__)


class SetupRequest(BaseModel):
    """What Label Studio sends when the backend is connected, and before it predicts a batch."""

    project: str = ""
    labeling_config: str = Field(default="", alias="schema", examples=[CONFIG])
    hostname: str | None = None
    access_token: str | None = None
    extra_params: Any = None


class PredictRequest(BaseModel):
    """Tasks to predict."""

    tasks: list[dict[str, Any]] = Field(max_length=MOST_TASKS)
    project: str | None = None
    label_config: str = Field(default="", examples=[CONFIG])
    params: dict[str, Any] | None = None


class Project(BaseModel):
    """A project of Label Studio."""

    id: int | str = ""
    label_config: str | None = None


class Event(BaseModel):
    """What happened in Label Studio."""

    action: str
    project: Project | None = None
    task: Any = None
    annotation: Any = None


@dataclass(frozen=True)
class Predicted:
    """The answer for one task: a prediction, or what failed."""

    tagged: Tagged | None = None
    error: str = ""


def router(services: Services) -> APIRouter:
    """The routes that Label Studio calls."""
    routes = APIRouter(prefix="/label-studio", tags=["Label Studio"])
    engine, settings, instruments = services.engine, services.settings, services.instruments
    fetcher = Fetcher(settings.label_studio, settings.most_bytes, settings.timeout)

    @routes.get("", summary="Whether the backend is there", include_in_schema=False)
    @routes.get("/", summary="Whether the backend is there", include_in_schema=False)
    @routes.get("/health", summary="Whether the backend is there")
    async def health() -> Response:
        """With the name of the model."""
        return Json({"status": "UP" if engine.is_alive else "DOWN", "model_class": settings.name})

    @routes.post("/setup", summary="Connect a project")
    async def setup(question: SetupRequest) -> Response:
        """Checks the labeling config, and gives the version of the model."""
        model = engine.model
        content: dict[str, Any] = {"model_version": model.version}
        if question.labeling_config:
            controls = parse_config(question.labeling_config, model.tagger.label_space)
            content["choices_without_label"] = sum(control.without_label for control in controls)
            covered = {label for control in controls for label in control.labels.values()}
            content["labels_without_choice"] = len(set(model.tagger.label_space.names) - covered)
        return Json(content)

    @routes.get("/versions", summary="The versions of the model")
    async def versions() -> Response:
        """There is one: that of the weights and the thresholds in use."""
        return Json({"versions": [engine.model.version]})

    @routes.post("/predict", summary="Predict tasks")
    async def predict(question: PredictRequest) -> Response:
        """One result per task, in order; what a person chose so far counts as known.

        Where the images of some tasks cannot be read, their results are empty, with a score of 0 and the reason as
        `error`; where none can, the answer is that error.
        """
        controls = parse_config(question.label_config, engine.model.tagger.label_space)
        params = question.params or {}
        context = params.get("context") if len(question.tasks) == 1 else None
        states: list[dict[str, bool]] = []
        for task in question.tasks:
            chosen, unmatched = chosen_states(chosen_results(task, context), controls)
            instruments.unmatched_choices.inc(unmatched)
            states.append(dict.fromkeys(chosen, True) if engine.model.tagger.model.uses_known else {})
        predicted: list[Predicted] = []
        for start in range(0, len(question.tasks), settings.most_images):
            part = slice(start, start + settings.most_images)
            predicted += await predict_tasks(engine, fetcher, question.tasks[part], states[part], controls)
        errors = [one.error for one in predicted if one.tagged is None]
        for error in errors:
            log.warning("Label Studio: %s", error)
        if errors and len(errors) == len(predicted):
            raise BadImageError(errors[0])
        return Json({"results": [result_of(one, engine.model.version, controls) for one in predicted]})

    @routes.post("/webhook", summary="Something happened in Label Studio")
    async def webhook(event: Event) -> Response:
        """Annotations and the start of a training are handed on; all else is only counted."""
        known = event.action in (*ANNOTATIONS, START_TRAINING)
        instruments.label_studio_events.labels(event.action if known else "other").inc()
        project = event.project or Project()
        if event.action == START_TRAINING:
            await run_in_threadpool(services.hooks.start_training, str(project.id))
        elif known:
            errors = []
            for changed in annotation_events(event, project, engine.model.tagger.label_space):
                instruments.unmatched_choices.inc(changed.unknown_choices)
                try:
                    await run_in_threadpool(services.hooks.annotation_changed, changed)
                except TagformerError as error:  # the other annotations are kept all the same
                    log.warning("Label Studio: task %s: %s", changed.task, error)
                    errors.append(error)
            if errors:
                raise errors[0]
        return Json({"status": "ok", "used": known})

    return routes


async def predict_tasks(
    engine: Engine,
    fetcher: Fetcher,
    tasks: Sequence[Mapping[str, Any]],
    states: Sequence[Mapping[str, bool]],
    controls: Sequence[Control],
) -> list[Predicted]:
    """Fetch and tag the images of some tasks; an image that cannot be read does not stop the others."""

    def fetch(task: Mapping[str, Any]) -> Upload | str:
        try:
            return fetcher.read(image_address(task, controls))
        except TagformerError as error:
            return f"{task_name(task)}: {error}"

    fetched = await asyncio.gather(*(run_in_threadpool(fetch, task) for task in tasks))
    errors = {number: error for number, error in enumerate(fetched) if isinstance(error, str)}
    uploads = [(number, upload) for number, upload in enumerate(fetched) if isinstance(upload, Upload)]
    futures = engine.tag([upload for _, upload in uploads], [states[number] for number, _ in uploads])
    tagged: dict[int, Tagged] = {}
    for (number, _), future in zip(uploads, futures, strict=True):
        try:
            (tagged[number],) = await engine.results(future)
        except BadImageError as error:
            errors[number] = f"{task_name(tasks[number])}: {error}"
    return [Predicted(tagged.get(number), errors.get(number, "")) for number in range(len(tasks))]


def result_of(predicted: Predicted, version: str, controls: Sequence[Control]) -> dict[str, Any]:
    """The prediction of a task as Label Studio takes it."""
    if predicted.tagged is None:
        return {"result": [], "score": 0.0, "model_version": version, "error": predicted.error}
    prediction = predicted.tagged.prediction
    return {
        "result": prediction_results(prediction, controls),
        "score": certainty(prediction, controls),
        "model_version": predicted.tagged.model.version,
    }


def annotation_events(event: Event, project: Project, label_space: LabelSpace) -> list[AnnotationEvent]:
    """The annotations of an event. Whoever submits one has seen all choices: those that were not chosen are absent.

    Where choices are shown at times only, that holds if one of them was chosen; else nothing is known of them, and
    their earlier answers are taken back.
    Cancelled annotations, of tasks that a person skipped, say nothing and are left out.

    Raises:
        TagformerError: the labeling config of the project is there, and has no labels of the model.
    """
    controls = parse_config(project.label_config, label_space) if project.label_config else []
    annotations = event.annotation if isinstance(event.annotation, list) else [event.annotation]
    tasks = event.task if isinstance(event.task, list) else [event.task] * len(annotations)
    events = []
    for number, annotation in enumerate(annotations):
        annotation = annotation if isinstance(annotation, dict) else {}
        task = tasks[number] if number < len(tasks) and isinstance(tasks[number], dict) else {}
        if annotation.get("was_cancelled"):
            continue
        results = annotation.get("result")
        given = results if isinstance(results, list) else []
        chosen, unmatched = chosen_states(given, controls)
        used = {str(result.get("from_name")) for result in given if isinstance(result, dict)}
        seen = [control for control in controls if control.name in used or not control.conditional]
        every = (label for control in controls for label in control.labels.values())
        offered = (label for control in seen for label in control.labels.values())
        states = {**dict.fromkeys(every, UNKNOWN), **dict.fromkeys(offered, ABSENT), **chosen}
        states = states if isinstance(results, list) else {}
        image = image_address(task, controls) if task and controls else None
        task_id = task.get("id", annotation.get("task", ""))
        events.append(AnnotationEvent(event.action, str(project.id), str(task_id), image, states, unmatched))
    return events
