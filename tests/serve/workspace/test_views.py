"""What the page shows beside answers: the grid, mistakes, heat maps, thresholds, the export."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from tagformer.serve.workspace.ordering import certain_and_different
from tests.serve.conftest import THRESHOLDS, new_tagger
from tests.serve.workspace.asking import COUNT, answer, get, looked_at, post


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


def test_a_short_queue_does_not_keep_it_from_looking(open_page: Callable[..., TestClient]) -> None:
    page = open_page(queue=2, most_images=1)
    looked_at(page)
    assert len(get(page, "images", sort="uncertain")["images"]) == COUNT
