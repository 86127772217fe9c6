"""What the page asks its server: answers, undo, the grid, mistakes, thresholds."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from tagformer.answers import AnswerStore
from tagformer.labels.tree import LabelTree
from tagformer.serve import ServeSettings, create_app
from tagformer.serve.engine import Engine
from tagformer.serve.workspace.loop import Loop
from tagformer.serve.workspace.ordering import certain_and_different
from tagformer.serve.workspace.pictures import Pictures, of_sources
from tagformer.serve.workspace.workspace import Workspace
from tests.serve.conftest import LABELS, THRESHOLDS, new_tagger
from tests.serve.pictures import encoded, scenes

COUNT = 12


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [folder / f"{number:02d}.png" for number in range(COUNT)]
    for name, picture in zip(names, scenes(COUNT), strict=True):
        name.write_bytes(encoded(picture))
    return names


@pytest.fixture
def open_page(files: list[Path], tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Start a server with the page; its answers stay in one folder, whatever is started after another."""
    clients: list[TestClient] = []

    def start(model: str = "ctran", tree: LabelTree | None = None) -> TestClient:
        def page(engine: Engine) -> Loop:
            pictures = Pictures(of_sources(files, [file.name for file in files]), tmp_path / "added")
            store = AnswerStore(tmp_path / "answers.sqlite")
            return Loop(Workspace(engine, pictures, store, "photos", tree), tmp_path / "run", tmp_path / "training")

        app = create_app(ServeSettings(name="small", batch_delay=0.0), new_tagger(model), page=page)
        client = TestClient(app, base_url="http://localhost:8000")
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def page(open_page: Callable[..., TestClient]) -> TestClient:
    return open_page()


def get(client: TestClient, path: str, **parameters: Any) -> Any:
    reply = client.get(f"/page/{path}", params=parameters)
    assert reply.status_code == 200, reply.text
    return reply.json()


def post(client: TestClient, path: str, **content: Any) -> Any:
    reply = client.post(f"/page/{path}", json=content)
    assert reply.status_code == 200, reply.text
    return reply.json()


def answer(client: TestClient, *changes: tuple[int, int, int], person: str = "ann", **content: Any) -> Any:
    request = f"request {time.monotonic_ns()}"
    return post(client, "answers", **{"request": request, "person": person, "changes": changes, **content})


def looked_at(client: TestClient) -> None:
    """Wait until the server has looked at all images."""
    until = time.monotonic() + 60
    while get(client, "state")["progress"]["scored"] < COUNT:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_answers_move_the_other_probabilities_as_the_tagger_does(page: TestClient, files: list[Path]) -> None:
    tagger = new_tagger()
    before = get(page, "images/3")
    expected = tagger.predict(files[3])[0].probabilities
    assert before["probabilities"] == pytest.approx(expected.tolist(), abs=1e-3)
    assert [one["label"] for one in before["suggestions"]] == [
        LABELS.names.index(one.name) for one in tagger.suggest(files[3], count=3)
    ]
    after = answer(page, (3, 0, 1), (3, 2, 0), focus=3)["focus"]
    assert after["known"] == {"0": 1, "2": 0}
    expected = tagger.predict(files[3], {"cat": True, "sky": False})[0].probabilities
    others = [1, 3, 4, 5]
    moved = [after["probabilities"][label] for label in others]
    assert moved == pytest.approx(expected[others].tolist(), abs=1e-3)
    assert moved != pytest.approx([before["probabilities"][label] for label in others], abs=1e-4)
    assert not {one["label"] for one in after["suggestions"]} & {0, 2}


def test_what_was_answered_is_there_after_a_restart(open_page: Callable[..., TestClient]) -> None:
    first = open_page()
    reply = answer(first, (1, 0, 1), (2, 1, 0))
    assert reply["progress"] | {"scored": 0} == {"done": 0, "total": COUNT, "scored": 0, "answers": 2, "answered": 2}
    post(first, "submit", person="ann", image=2)
    second = open_page()
    assert get(second, "images/1")["known"] == {"0": 1}
    assert get(second, "images/2")["known"] == {"1": 0}
    assert get(second, "images/2")["done"]
    assert get(second, "state", person="ann")["undoable"]
    undone = post(second, "undo", person="ann", focus=1)
    assert sorted(undone["changes"]) == [[1, 0, -1], [2, 1, -1]]
    assert undone["focus"]["known"] == {}
    assert (undone["undoable"], undone["redoable"]) == (False, True)
    assert post(second, "undo", person="ann")["changes"] == []
    assert sorted(post(second, "redo", person="ann")["changes"]) == [[1, 0, 1], [2, 1, 0]]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [([[COUNT, 0, 1]], "there is no image 12"), ([[-1, 0, 1]], "no image -1"), ([[0, 6, 1]], "there is no label 6")],
)
def test_answers_that_cannot_be_saved(page: TestClient, changes: list[list[int]], sentence: str) -> None:
    content = {"request": "request 1", "changes": [[0, 0, 1], *changes]}
    reply = page.post("/page/answers", json=content)
    assert reply.status_code == 422
    assert sentence in reply.json()["error"]
    assert get(page, "images/0")["known"] == {}, "nothing of it is saved"
    assert page.post("/page/answers", json={**content, "changes": [[0, 0, 2]]}).status_code == 422


def test_two_people_get_different_images(page: TestClient) -> None:
    ann = post(page, "next", person="ann", count=3)["images"]
    assert ann == [0, 1, 2]
    assert post(page, "next", person="ben", count=2)["images"] == [3, 4]
    assert post(page, "next", person="ann", count=2, after=0)["images"] == [1, 2]
    assert post(page, "next", person="ann", count=2, after=2)["images"] == [5, 6]
    post(page, "submit", person="ann", image=1)
    post(page, "leave", person="ann")
    assert post(page, "next", person="ben", count=4, after=0)["images"] == [2, 3, 4, 5]


def test_the_grid_filters_and_sorts_by_the_tagger_s_probabilities(page: TestClient, files: list[Path]) -> None:
    looked_at(page)
    tagger = new_tagger()
    of_dog = torch.stack([p.probabilities for p in tagger.predict(files)])[:, 1].half().float().numpy()
    order = get(page, "images", label=1, sort="probability")["images"]
    assert order == sorted(range(COUNT), key=lambda number: -of_dog[number])
    low, high = float(np.sort(of_dog)[2]) + 1e-6, float(np.sort(of_dog)[8]) + 1e-6
    inside = get(page, "images", label=1, least=low, most=high)
    assert inside["images"] == [number for number in range(COUNT) if low <= of_dog[number] <= high]
    assert [item["value"] for item in inside["items"]] == pytest.approx(of_dog[inside["images"]].tolist(), abs=1e-3)
    answer(page, (0, 1, 1), (1, 1, 0), (2, 0, 1))
    post(page, "submit", person="ann", image=5)
    assert get(page, "images", label=1, state="yes")["images"] == [0]
    assert get(page, "images", label=1, state="no")["images"] == [1]
    assert get(page, "images", label=1, state="unknown")["images"] == list(range(2, COUNT))
    assert get(page, "images", state="open")["images"] == [n for n in range(COUNT) if n != 5]
    disagrees = [0] * bool(of_dog[0] < THRESHOLDS[1]) + [1] * bool(of_dog[1] >= THRESHOLDS[1])
    assert get(page, "images", label=1, state="disagreement")["images"] == disagrees
    assert page.get("/page/images", params={"sort": "size"}).status_code == 422


def test_certain_and_different_images_come_first() -> None:
    """Compared with a loop that follows the sentence."""
    generator = np.random.default_rng(0)
    probabilities = generator.random((30, 4)).astype(np.float32)
    certainty = np.abs(2 * probabilities - 1).mean(1)
    expected = [int(certainty.argmax())]
    while len(expected) < 30:
        scores = {}
        for row in sorted(set(range(30)) - set(expected)):
            nearest = min(np.abs(probabilities[row] - probabilities[other]).max() for other in expected)
            scores[row] = certainty[row] * (nearest + 1e-6)
        expected.append(max(scores, key=lambda row: scores[row]))
    assert certain_and_different(certainty, probabilities) == expected
    certainty[7] = math.nan
    assert certain_and_different(certainty, probabilities)[-1] == 7


def test_mistakes_are_where_the_answers_and_the_model_differ(page: TestClient, files: list[Path]) -> None:
    looked_at(page)
    probabilities = torch.stack([p.probabilities for p in new_tagger().predict(files)])[:, 0]
    predicted = (probabilities >= THRESHOLDS[0]).int().tolist()
    states = [1 - predicted[0], 1 - predicted[1], 1 - predicted[2], predicted[3], predicted[4]]
    answer(page, *((number, 0, state) for number, state in enumerate(states)), person="ben")
    found = get(page, "mistakes")
    assert found["compared"] == 5
    order = sorted(range(3), key=lambda number: -abs(states[number] - probabilities[number]))
    assert [(one["image"], one["state"], one["person"]) for one in found["mistakes"]] == [
        (number, states[number], "ben") for number in order
    ]
    post(page, "confirm", person="ann", image=0, label=0, state=states[0])
    assert sorted(one["image"] for one in get(page, "mistakes")["mistakes"]) == [1, 2]
    answer(page, (1, 0, predicted[1]), (2, 0, predicted[2]))
    assert get(page, "mistakes") == {"mistakes": [], "compared": 4}
    stale = page.post("/page/confirm", json={"person": "ann", "image": 1, "label": 0, "state": states[1]})
    assert stale.status_code == 422
    assert "another person has changed this answer" in stale.json()["error"]


def test_similar_images_are_those_with_the_nearest_embedding(page: TestClient, files: list[Path]) -> None:
    tagger = new_tagger()
    table = torch.nn.functional.normalize(torch.stack([tagger.embed(file) for file in files]), dim=1)
    order = (table @ table[4]).argsort(descending=True).tolist()
    assert get(page, "similar/4", count=5)["images"] == [number for number in order if number != 4][:5]


def test_a_heat_map_is_that_of_the_tagger(page: TestClient, files: list[Path]) -> None:
    answer(page, (2, 3, 1))
    expected = new_tagger().explain(files[2], "dog", {"boat, old": True}).maps[0]
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    got = get(page, "heat/2/1")
    torch.testing.assert_close(torch.tensor(got["rows"]), expected, atol=2e-3, rtol=0)
    assert page.get("/page/heat/2/5").status_code == 422, "an extra label has none"


def test_a_tree_of_labels(open_page: Callable[..., TestClient]) -> None:
    tree = LabelTree(LABELS.names, [("cat", "Animal"), ("dog", "Animal")])
    page = open_page(tree=tree)
    focus = answer(page, (0, 0, 1), focus=0)["focus"]
    assert focus["known"] == {"0": 1, "4": 1}
    assert focus["implied"] == [4]
    reply = page.post("/page/answers", json={"request": "request 1", "changes": [[0, 4, 0]]})
    assert reply.status_code == 422
    assert "'cat' cannot be present where 'Animal', above it, is absent" in reply.json()["error"]
    focus = answer(page, (1, 4, 0), focus=1)["focus"]
    assert focus["known"] == {"0": 0, "1": 0, "4": 0}


def test_a_picture_is_added_once_and_stays(open_page: Callable[..., TestClient], tmp_path: Path) -> None:
    page = open_page()
    photo = encoded(scenes(COUNT + 1)[-1])
    for _ in range(2):
        reply = page.post("/page/pictures", content=photo, headers={"content-type": "image/png"})
        assert (reply.status_code, reply.json()["key"]) == (200, COUNT)
    answer(page, (COUNT, 0, 1))
    assert len(list((tmp_path / "added").iterdir())) == 1
    again = open_page()
    assert get(again, f"images/{COUNT}")["known"] == {"0": 1}
    thumbnail = again.get(f"/page/thumbnails/{COUNT}")
    assert thumbnail.content[:3] == b"\xff\xd8\xff"
    refused = page.post("/page/pictures", content=b"<svg></svg>", headers={"content-type": "image/svg+xml"})
    assert refused.status_code == 422
    assert "Traceback" not in refused.text


def test_an_image_that_cannot_be_read_is_left_out(open_page: Callable[..., TestClient], files: list[Path]) -> None:
    files[0].write_bytes(b"broken")
    page = open_page()
    looked_at(page)
    reply = page.get("/page/images/0")
    assert reply.status_code == 422
    assert "00.png" in reply.json()["error"]
    assert post(page, "next", person="ann")["images"] == [1]
    assert get(page, "images")["images"] == list(range(1, COUNT))
    assert page.get("/page/pictures/0").status_code == 422


def test_a_model_without_known_labels_asks_nothing(open_page: Callable[..., TestClient], files: list[Path]) -> None:
    page = open_page("linear")
    assert not get(page, "state")["model"]["uses_known"]
    focus = answer(page, (0, 0, 1), focus=0)["focus"]
    assert focus["suggestions"] == []
    expected = new_tagger("linear").predict(files[0])[0].probabilities
    assert focus["probabilities"] == pytest.approx(expected.tolist(), abs=1e-3)


def test_thresholds_have_the_precision_and_recall_of_scikit_learn(page: TestClient, files: list[Path]) -> None:
    from sklearn.metrics import precision_score, recall_score

    looked_at(page)
    truth = [number % 3 != 0 for number in range(COUNT)]
    answer(page, *((number, 2, int(state)) for number, state in enumerate(truth)))
    probabilities = torch.stack([p.probabilities for p in new_tagger().predict(files)])[:, 2].half().float().numpy()
    row = get(page, "labels")["labels"][2]
    assert (row["yes"], row["no"]) == (sum(truth), COUNT - sum(truth))
    defined = 0
    for threshold, precision, recall in row["curve"]:
        predicted = probabilities >= np.float32(threshold)
        assert recall == pytest.approx(recall_score(truth, predicted, zero_division=0), abs=1e-4)
        if predicted.any():
            defined += 1
            assert precision == pytest.approx(precision_score(truth, predicted), abs=1e-4)
        else:
            assert precision is None
    assert defined > 3


def test_the_page_asks_for_nothing_from_outside(page: TestClient) -> None:
    reply = page.get("/")
    assert reply.status_code == 200
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    for file in ("index.html", "app.js", "style.css", "grid_view.js"):
        text = page.get(f"/static/{file}").text
        assert "http://" not in text.replace("http://www.w3.org", ""), file
        assert "https://" not in text, file
    assert page.get("/static/..%2fapp.py").status_code == 404


def test_an_export_has_the_answers_and_what_is_predicted(page: TestClient, files: list[Path]) -> None:
    looked_at(page)
    answer(page, (1, 0, 1), (1, 1, 0), (3, 2, 1))
    post(page, "submit", person="ann", image=4)
    lines = [json.loads(line) for line in page.get("/page/export", params={"format": "jsonl"}).text.splitlines()]
    assert lines == [
        {"path": str(files[1].resolve()), "present": ["cat"], "absent": ["dog"]},
        {"path": str(files[3].resolve()), "present": ["sky"], "absent": []},
    ]
    reply = page.get("/page/export", params={"format": "jsonl", "images": "done", "predicted": "true"})
    predicted = {tag.name for tag in new_tagger().predict(files[4])[0].tags}
    assert predicted
    (line,) = [json.loads(line) for line in reply.text.splitlines()]
    assert set(line["present"]) == predicted
    assert reply.headers["content-disposition"] == 'attachment; filename="tags.jsonl"'
    assert page.get("/page/export", params={"format": "exe"}).status_code == 422
