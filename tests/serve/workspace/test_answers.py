"""Answers on the page: saved, taken back, with a tree of labels, by several people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tagformer.labels.tree import LabelTree
from tests.serve.conftest import LABELS, new_tagger
from tests.serve.pictures import encoded, scenes
from tests.serve.workspace.asking import COUNT, answer, get, looked_at, post


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
    assert post(second, "undo", person="ann")["changes"] is None, "nothing is left"
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
