"""The backend of Label Studio: what it sends, and what it gets."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tagformer import Tagger
from tagformer.errors import TagformerError
from tagformer.serve import AnnotationEvent
from tagformer.serve.settings import LabelStudioSettings
from tests.serve.conftest import MakeClient
from tests.serve.pictures import encoded

CONFIG = """<View><Image name="photo" value="$image"/>
<Choices name="tags" toName="photo" choice="multiple">
  <Choice value="Cat"/><Choice value="dog"/><Choice value="night"/><Choice value="zebra"/>
</Choices>
<Taxonomy name="tree" toName="photo">
  <Choice value="Animal"><Choice value="dog"/></Choice><Choice value="sky"/>
</Taxonomy>
</View>"""


def task(picture: Image.Image, number: int = 1, **more: Any) -> dict[str, Any]:
    address = "data:image/png;base64," + base64.b64encode(encoded(picture)).decode()
    return {"id": number, "data": {"image": address}, "annotations": [], "drafts": [], "predictions": [], **more}


def predict(client: TestClient, tasks: list[dict[str, Any]], **params: Any) -> Any:
    question = {"tasks": tasks, "project": "1.1700000000", "label_config": CONFIG, "params": params}
    answer = client.post("/label-studio/predict", json=question)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def choices(*names: str) -> dict[str, Any]:
    return {"from_name": "tags", "to_name": "photo", "type": "choices", "value": {"choices": list(names)}}


def entropy(p: float) -> float:
    return -sum(q * math.log2(q) for q in (p, 1 - p) if q > 0)


def test_health_setup_and_versions(client: TestClient) -> None:
    assert client.get("/label-studio/health").json() == {"status": "UP", "model_class": "small"}
    version = client.get("/v1/labels").json()["model"]["version"]
    question = {"project": "1.17", "schema": CONFIG, "hostname": "http://evil", "access_token": "x", "extra_params": {}}
    answer = client.post("/label-studio/setup", json=question)
    assert answer.json() == {"model_version": version, "choices_without_label": 1, "labels_without_choice": 1}
    assert client.get("/label-studio/versions").json() == {"versions": [version]}
    wrong = client.post("/label-studio/setup", json={**question, "schema": CONFIG.replace("<View>", "")})
    assert wrong.status_code == 422
    assert wrong.json()["error"].startswith("the labeling config is not XML")


def test_predictions_are_the_tagger_s_tags(client: TestClient, tagger: Tagger, pictures: list[Image.Image]) -> None:
    results = predict(client, [task(picture, number) for number, picture in enumerate(pictures[:4])])
    version = client.get("/label-studio/versions").json()["versions"][0]
    assert len(results) == 4
    spelled = {"cat": "Cat", "dog": "dog", "night": "night"}
    paths = {"Animal": ["Animal"], "dog": ["Animal", "dog"], "sky": ["sky"]}
    for picture, result in zip(pictures, results, strict=False):
        prediction = tagger.predict(picture)[0]
        tags = {tag.name: tag.probability for tag in prediction.tags}
        by_control = {one["from_name"]: one for one in result["result"]}
        chosen = [name for name in spelled if name in tags]
        assert sorted(by_control) == sorted(["tags"] * bool(chosen) + ["tree"] * bool(set(paths) & set(tags)))
        if chosen:
            assert by_control["tags"]["to_name"] == "photo"
            assert by_control["tags"]["type"] == "choices"
            assert by_control["tags"]["value"] == {"choices": [spelled[name] for name in chosen]}
            mean = sum(tags[name] for name in chosen) / len(chosen)
            assert by_control["tags"]["score"] == pytest.approx(mean, abs=1e-5)
        if "tree" in by_control:
            assert by_control["tree"]["type"] == "taxonomy"
            assert by_control["tree"]["value"] == {"taxonomy": [paths[name] for name in paths if name in tags]}
        ranked = {tag.name: tag.probability for tag in prediction.ranked}
        uncertain = [entropy(ranked[name]) for name in ("cat", "dog", "Animal", "sky")]
        assert result["score"] == pytest.approx(1 - sum(uncertain) / 4, abs=1e-5)
        assert result["model_version"] == version
    assert any(result["result"] for result in results)


@pytest.mark.parametrize("where", ["context", "drafts", "annotations"])
def test_what_a_person_chose_is_known(
    client: TestClient, tagger: Tagger, pictures: list[Image.Image], where: str
) -> None:
    chosen = {"result": [choices("Cat", "night")]}
    more = {} if where == "context" else {where: [chosen]}
    params = {"context": chosen} if where == "context" else {}
    (result,) = predict(client, [task(pictures[0], **more)], **params)
    expected = tagger.predict(pictures[0], {"cat": True, "night": True})[0]
    (tags,) = [one for one in result["result"] if one["from_name"] == "tags"]
    predicted = {tag.name for tag in expected.tags}
    assert tags["value"]["choices"] == ["Cat", *(["dog"] if "dog" in predicted else []), "night"]
    ranked = {tag.name: tag.probability for tag in expected.ranked}
    uncertain = [entropy(ranked[name]) for name in ("dog", "Animal", "sky")]
    assert result["score"] == pytest.approx(1 - sum(uncertain) / 3, abs=1e-5)
    free = predict(client, [task(pictures[0])])[0]["score"]
    assert result["score"] != pytest.approx(free, abs=1e-6)


def test_all_known_is_certain(client: TestClient, pictures: list[Image.Image]) -> None:
    tree = {"from_name": "tree", "type": "taxonomy", "value": {"taxonomy": [["Animal", "dog"], ["sky"]]}}
    (result,) = predict(client, [task(pictures[0], drafts=[{"result": [choices("Cat", "zebra"), tree]}])])
    assert result["score"] == 1
    assert "tagformer_unmatched_choices_total 1.0" in client.get("/metrics").text


def test_a_model_without_known_labels_predicts_too(serve: MakeClient, pictures: list[Image.Image]) -> None:
    client = serve("linear")
    (result,) = predict(client, [task(pictures[0], drafts=[{"result": [choices("Cat")]}])])
    (free,) = predict(client, [task(pictures[0])])
    assert result == free


def test_an_image_that_cannot_be_read_does_not_stop_the_others(
    serve: MakeClient, pictures: list[Image.Image], tmp_path: Path
) -> None:
    pictures[1].save(tmp_path / "b.png")
    client = serve(label_studio=LabelStudioSettings("http://127.0.0.1:9", files=tmp_path))
    local = {"id": 2, "data": {"image": "/data/local-files/?d=b.png"}}
    away = {"id": 3, "data": {"image": "http://10.0.0.1/x.jpg"}}
    broken = {"id": 4, "data": {"image": "data:,x"}}
    empty: dict[str, Any] = {"id": 5, "data": {}}
    results = predict(client, [task(pictures[0]), local, away, broken, empty])
    assert [bool(result.get("error")) for result in results] == [False, False, True, True, True]
    assert results[1]["score"] == pytest.approx(predict(client, [task(pictures[1])])[0]["score"], abs=1e-5)
    assert results[2]["result"] == []
    assert results[2]["score"] == 0
    assert results[2]["error"].startswith("task 3: the image http://10.0.0.1/x.jpg cannot be read (it is not on")
    assert results[3]["error"] == "task 4: image data:,x is not an image."
    assert results[4]["error"] == "task 5: its data has no address of an image, as 'image'."
    answer = client.post("/label-studio/predict", json={"tasks": [away, broken], "label_config": CONFIG})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("task 3: the image http://10.0.0.1/x.jpg")


def test_more_tasks_than_the_queue_has_places(serve: MakeClient, pictures: list[Image.Image]) -> None:
    client = serve(queue=2, most_images=2)
    results = predict(client, [task(pictures[number % 8], number) for number in range(11)])
    assert len(results) == 11
    assert results[0]["score"] == pytest.approx(results[8]["score"], abs=1e-5)
    assert results[0]["score"] != pytest.approx(results[1]["score"], abs=1e-5)


class Recorded:
    """Hooks that remember what they were called with."""

    def __init__(self) -> None:
        self.projects: list[str] = []
        self.events: list[AnnotationEvent] = []

    def start_training(self, project: str) -> None:
        if self.projects:
            raise TagformerError("a training is running already: wait for its end.")
        self.projects.append(project)

    def annotation_changed(self, event: AnnotationEvent) -> None:
        self.events.append(event)


def test_events_are_handed_on(serve: MakeClient) -> None:
    hooks = Recorded()
    client = serve(hooks=hooks)

    def send(**event: Any) -> tuple[int, Any]:
        answer = client.post("/label-studio/webhook", json=event)
        return answer.status_code, answer.json()

    project = {"id": 7, "label_config": CONFIG, "title": "Photos"}
    annotation = {"id": 3, "result": [choices("Cat", "zebra")], "task": 5}
    data = {"id": 5, "data": {"image": "/data/upload/a.jpg"}}
    assert send(action="ANNOTATION_CREATED", project=project, annotation=annotation, task=data) == (
        200,
        {"status": "ok", "used": True},
    )
    states = {"cat": 1, "dog": 0, "night": 0, "Animal": 0, "sky": 0}
    assert hooks.events == [AnnotationEvent("ANNOTATION_CREATED", "7", "5", "/data/upload/a.jpg", states, 1)]
    send(action="ANNOTATIONS_DELETED", project={"id": 7}, annotations=[{"id": 3}])
    assert hooks.events[1] == AnnotationEvent("ANNOTATIONS_DELETED", "7", "", None, {})
    send(action="ANNOTATIONS_CREATED", project=project, annotation=[annotation, annotation], task=[data, data])
    assert [event.task for event in hooks.events[2:]] == ["5", "5"]
    skipped = {**annotation, "was_cancelled": True}
    assert send(action="ANNOTATION_CREATED", project=project, annotation=skipped, task=data)[0] == 200
    assert send(action="START_TRAINING", project=project)[0] == 200
    assert hooks.projects == ["7"]
    assert send(action="START_TRAINING") == (422, {"error": "a training is running already: wait for its end."})
    assert send(action="TASKS_CREATED", project=project) == (200, {"status": "ok", "used": False})
    assert send(action="\0")[0] == 200
    assert send(project=project)[0] == 422
    assert len(hooks.events) == 4


def test_choices_that_were_hidden_say_nothing(serve: MakeClient) -> None:
    hooks = Recorded()
    client = serve(hooks=hooks)
    condition = '<View visibleWhen="choice-selected" whenTagName="tags" whenChoiceValue="dog"><Taxonomy'
    config = CONFIG.replace("<Taxonomy", condition).replace("</Taxonomy>", "</Taxonomy></View>")
    tree = {"from_name": "tree", "to_name": "photo", "type": "taxonomy", "value": {"taxonomy": [["sky"]]}}
    for results in ([choices("Cat")], [choices("dog"), tree]):
        event = {"action": "ANNOTATION_CREATED", "project": {"id": 7, "label_config": config}}
        image = {"id": 5, "data": {"image": "/data/upload/a.jpg"}}
        client.post("/label-studio/webhook", json={**event, "annotation": {"id": 3, "result": results}, "task": image})
    hidden, shown = (event.states for event in hooks.events)
    assert hidden == {"cat": 1, "dog": 0, "night": 0, "Animal": -1, "sky": -1}
    assert shown == {"cat": 0, "dog": 1, "night": 0, "Animal": 0, "sky": 1}


def test_an_annotation_that_is_refused_does_not_stop_the_others(serve: MakeClient) -> None:
    class Refusing(Recorded):
        def annotation_changed(self, event: AnnotationEvent) -> None:
            if event.task == "5":
                raise TagformerError("'dog' cannot be present where 'Animal', above it, is absent: change one of them.")
            super().annotation_changed(event)

    hooks = Refusing()
    tasks = [{"id": number, "data": {"image": "/data/upload/a.jpg"}} for number in (5, 6)]
    annotations = [{"id": number, "result": [choices("Cat")]} for number in (1, 2)]
    event = {"action": "ANNOTATIONS_CREATED", "project": {"id": 7, "label_config": CONFIG}}
    answer = serve(hooks=hooks).post("/label-studio/webhook", json={**event, "annotation": annotations, "task": tasks})
    assert answer.status_code == 422
    assert "'dog' cannot be present" in answer.json()["error"]
    assert [changed.task for changed in hooks.events] == ["6"]


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"tasks": [], "label_config": ""},
        {"tasks": [1], "label_config": CONFIG},
        {"tasks": [{}], "label_config": CONFIG},
        {"tasks": [{"data": "x"}], "label_config": CONFIG},
        {"tasks": [{"data": {"image": 7}}], "label_config": CONFIG},
        {"tasks": [{"data": {"image": ""}}], "label_config": CONFIG},
        {"tasks": [{}] * 1001, "label_config": CONFIG},
        {"tasks": [{"data": {"image": "x"}, "drafts": 7}], "label_config": CONFIG, "params": {"context": 5}},
    ],
)
def test_wrong_questions_are_422(client: TestClient, question: dict[str, Any]) -> None:
    answer = client.post("/label-studio/predict", json=question)
    assert answer.status_code == 422
    assert list(answer.json()) == ["error"]
