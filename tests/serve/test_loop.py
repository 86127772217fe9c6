"""Training again on the answers: what is written, compared, taken into use, and what happens where it fails."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import torch
from fastapi.testclient import TestClient

from tagformer import Tagger
from tagformer.answers import AnswerStore
from tagformer.data import load_dataset
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.labels.tree import LabelTree
from tagformer.metrics import average_precision
from tagformer.runs import Run
from tagformer.serve import AnnotationEvent, ServeSettings, create_app
from tagformer.serve.engine import Engine
from tagformer.serve.workspace.comparing import answer_rows, compare_taggers
from tagformer.serve.workspace.loop import Loop, run_in_use
from tagformer.serve.workspace.pictures import Pictures, of_sources
from tagformer.serve.workspace.retraining import APART, own_rows
from tagformer.serve.workspace.workspace import Workspace

SPEC = "scenes?images=96&faint=0"
Start = Callable[[Path], tuple[TestClient, Loop]]


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Serve a run on the test images of its own data."""
    clients: list[TestClient] = []

    def serve(run: Path) -> tuple[TestClient, Loop]:
        dataset, loops = load_dataset(SPEC, "test"), []

        def page(engine: Engine) -> Loop:
            pictures = Pictures(of_sources(dataset.images, dataset.ids), tmp_path / "added")
            workspace = Workspace(engine, pictures, AnswerStore(tmp_path / "answers.sqlite"), "scenes")
            loops.append(Loop(workspace, run, tmp_path / "training"))
            return loops[0]

        app = create_app(ServeSettings(name="small", batch_delay=0.0), Tagger.load(run), page=page)
        client = TestClient(app, base_url="http://localhost:8000")
        client.__enter__()
        clients.append(client)
        return client, loops[0]

    yield serve
    for client in clients:
        client.__exit__(None, None, None)


def answer_all(loop: Loop) -> None:
    """Answer some labels of all images by their own labels."""
    dataset = load_dataset(SPEC, "test")
    cells = [(row, label, int(dataset.labels[row, label])) for row in range(len(dataset)) for label in range(6)]
    loop.workspace.answer("ann", cells, "all of them")


def finished(client: TestClient, seconds: float) -> dict[str, Any]:
    """The state of the training once it is over."""
    until = time.monotonic() + seconds
    while (state := client.get("/page/train").json())["status"] == "running":
        assert time.monotonic() < until, state
        time.sleep(0.3)
    return dict(state)


def test_too_few_answers_are_one_sentence(start: Start, run: Path) -> None:
    client, loop = start(run)
    loop.workspace.answer("ann", [(0, 0, 1)], "the only one")
    state = client.get("/page/train").json()
    assert (state["can_start"], state["why"]) == (False, "Answer labels on at least 10 images first; there are 1.")
    reply = client.post("/page/train", json={"minutes": 1})
    assert reply.status_code == 422
    assert "at least 10 images" in reply.json()["error"]


def test_a_training_that_fails_says_why_and_the_model_stays(start: Start, run: Path) -> None:
    client, loop = start(run)
    answer_all(loop)
    version = loop.workspace.engine.model.version
    (run / "model.safetensors").unlink()
    assert client.post("/page/train", json={"minutes": 0.5}).status_code == 200
    state = finished(client, 100)
    assert state["status"] == "failed"
    assert "has no weights" in state["error"]
    assert "Traceback" not in state["error"]
    assert client.post("/page/train/take").status_code == 422
    assert loop.workspace.engine.model.version == version


def test_what_is_trained_on(start: Start, run: Path, tmp_path: Path) -> None:
    """The answers, three-state, apart from a fifth by the ids; stopped at once."""
    client, loop = start(run)
    answer_all(loop)
    client.post("/page/train", json={"minutes": 0.5})
    client.post("/page/train/stop")
    assert finished(client, 60)["status"] == "stopped"
    own, data = load_dataset(SPEC, "test"), tmp_path / "training" / "1" / "data"
    rows = {}
    for split in ("train", "val"):
        written = load_dataset(f"csv:{data}", split)
        assert written.label_space == Run.load(run).label_space
        rows[split] = written.labels
    assert len(rows["train"]) + len(rows["val"]) == len(own)
    assert 0 < len(rows["val"]) < 2 * len(own) / APART
    everything = torch.cat([rows["train"], rows["val"]])
    assert (everything[:, 6:] == -1).all(), "what nobody answered is unknown"
    assert sorted(map(tuple, everything[:, :6].tolist())) == sorted(map(tuple, own.labels[:, :6].tolist()))
    with (data / "train.csv").open() as stream:
        assert all(Path(row["path"]).is_file() for row in csv.DictReader(stream)), "drawings are written as files"


def test_the_run_s_own_images_are_trained_on_too(run: Path, tmp_path: Path) -> None:
    loaded = Run.load(run)
    names = loaded.label_space.names
    assert own_rows(loaded, set(), 10) == (
        {},
        "Trained on the answers and on 0 of the images that the run was trained on.",
    )
    lines = ["path," + ",".join(names)]
    for number in range(20):
        (tmp_path / f"{number}.jpg").write_bytes(b"not looked at")
        lines.append(f"{number}.jpg,1,0" + "," * (len(names) - 2))
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text("\n".join(lines if split == "train" else lines[:1]) + "\n")
    for split, number in (("val", 20), ("test", 21)):
        (tmp_path / f"{number}.jpg").write_bytes(b"not looked at")
        (tmp_path / f"{split}.csv").write_text(f"{lines[0]}\n{number}.jpg,1,0" + "," * (len(names) - 2) + "\n")
    loaded.recipe.data.spec = f"csv:{tmp_path}"
    paths = [str((tmp_path / f"{number}.jpg").resolve()) for number in range(20)]
    rows, sentence = own_rows(loaded, set(paths[:4]), 10)
    assert len(rows) == 8
    assert set(rows) <= set(paths[4:])
    assert all(states == {names[0]: 1, names[1]: 0} for states in rows.values())
    assert "8 of the images" in sentence
    loaded.recipe.data.spec = f"csv:{tmp_path / 'gone'}"
    rows, sentence = own_rows(loaded, set(), 10)
    assert rows == {}
    assert sentence.startswith("Trained on the answers alone, as the data of the run cannot be read: ")


def test_two_models_are_compared_on_answers_of_both_kinds(small_run: Path) -> None:
    dataset = load_dataset(SPEC, "test")
    before, after = Tagger.load(small_run), Tagger.load(small_run)
    with torch.no_grad():
        for parameter in after.model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    labels = dataset.labels.clone()
    labels[:, 3] = 1  # no image without it
    labels[:, 4] = -1
    found = compare_taggers(before, after, dataset.images, labels)
    counted = [c for c in range(labels.shape[1]) if {0, 1} <= set(labels[:, c].tolist())]
    assert found.labels == len(counted)
    for tagger, interval in ((before, found.before), (after, found.after)):
        probabilities = torch.stack([p.probabilities for p in tagger.predict([i.render() for i in dataset.images])])  # type: ignore[union-attr]
        precisions = average_precision(probabilities, labels)[counted]
        assert interval.value == pytest.approx(precisions.mean().item(), abs=1e-4)
        assert interval.low <= interval.value <= interval.high
    assert found.difference.value == pytest.approx(found.after.value - found.before.value)
    only_yes = compare_taggers(before, after, dataset.images[:3], torch.ones(3, 14, dtype=torch.int8))
    assert (only_yes.labels, only_yes.to_dict()["before"]) == (0, None)
    assert "cannot be compared" in only_yes.sentence


def test_annotations_of_label_studio_become_answers(start: Start, run: Path) -> None:
    _, loop = start(run)
    first = loop.workspace.pictures[0].name
    uploaded = f"/data/upload/1/645501ce-{quote(first)}"  # as Label Studio 1.23 names it
    for action, image in (("CREATED", uploaded), ("CREATED", "/data/other.png"), ("CREATED", None)):
        loop.annotation_changed(AnnotationEvent(f"ANNOTATION_{action}", "3", "7", image, {"disc": 1, "gone": 1}))
    assert loop.workspace.store.all_states() == {loop.workspace.pictures[0].id: {"disc": 1}}
    assert loop.workspace.store.history(loop.workspace.pictures[0].id)[0].person == "Label Studio 3"
    assert loop.passed_over == 2
    with pytest.raises(TagformerError, match="at least 10 images"):
        loop.start_training("3")


def test_a_label_that_a_chosen_one_implies_is_present(start: Start, run: Path) -> None:
    """Label Studio's choices do not know the tree of labels: who chooses the child alone has not said "no parent"."""
    _, loop = start(run)
    workspace = loop.workspace
    child, parent, other = workspace.names[:3]
    workspace.tree = LabelTree(workspace.names, [(child, parent)])
    image = workspace.pictures[0]

    def annotate(**states: int) -> dict[str, int]:
        loop.annotation_changed(AnnotationEvent("ANNOTATION_CREATED", "3", "7", image.name, states))
        return workspace.store.states(image.id)

    assert annotate(**{child: 0, parent: 0, other: 1}) == {child: 0, parent: 0, other: 1}
    assert annotate(**{child: 1, parent: 0, other: 0}) == {child: 1, parent: 1, other: 0}
    assert annotate(**{child: -1, parent: 0}) == {parent: 0, other: 0}, "the child was hidden, and is taken back"
    workspace.undo("Label Studio 3")
    workspace.answer("ann", [(0, workspace.names.index(parent), -1)], "r")
    assert annotate(**{child: 1, other: 0}) == {child: 1, other: 0}, "nobody was asked about the parent"
    assert annotate(**{child: 0, other: 1}) == {child: 0, other: 1}
    count = len(workspace.store.history(image.id))
    assert annotate(**{parent: -1, child: 0, other: 1}) == {child: 0, other: 1}
    assert len(workspace.store.history(image.id)) == count + 2, "what is unknown already is no answer"


@pytest.mark.parametrize("address", ["//[x/{}", "http://host/data/{}?token=1", "s3://bucket/{}", "{}"])
def test_images_of_any_address(start: Start, run: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, loop = start(run)
    for name in ("photo.jpg", *(["photo#1.jpg", "a?.jpg"] if "token" not in address else [])):
        images = list(loop.workspace.pictures)
        images[3] = replace(images[3], name=name)
        monkeypatch.setattr(Pictures, "__iter__", lambda pictures, images=images: iter(images))
        event = AnnotationEvent("ANNOTATION_CREATED", "3", "7", address.format(name), {"disc": 1})
        loop.annotation_changed(event)
        assert loop.passed_over == 0, name
    assert loop.workspace.store.all_states() == {loop.workspace.pictures[3].id: {"disc": 1}}


def test_a_name_that_two_images_have_is_not_taken_for_that_of_a_third(
    start: Start, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the digits before it, which may belong to the name, it is the third's."""
    _, loop = start(run)
    images = list(loop.workspace.pictures)
    uploaded = f"645501ce-{images[0].name}"
    images[1:3] = [replace(image, name=uploaded) for image in images[1:3]]
    monkeypatch.setattr(Pictures, "__iter__", lambda pictures: iter(images))
    loop.annotation_changed(AnnotationEvent("ANNOTATION_CREATED", "3", "7", f"/data/upload/{uploaded}", {"disc": 1}))
    assert loop.workspace.store.all_states() == {}
    assert loop.passed_over == 1


def test_answers_as_rows() -> None:
    rows = answer_rows([{"b": 1}, {"a": 0, "gone": 1}], LabelSpace(("a", "b")))
    assert rows.tolist() == [[-1, 1], [0, -1]]


def test_the_model_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    assert run_in_use(tmp_path / "first", folder) == tmp_path / "first"
    folder.mkdir()
    (folder / "in_use.json").write_text(json.dumps({"run": str(tmp_path / "second")}))
    assert run_in_use(tmp_path / "first", folder) == tmp_path / "second"


@pytest.mark.slow
def test_train_again_compare_and_take(start: Start, run: Path, tmp_path: Path) -> None:
    client, loop = start(run)
    answer_all(loop)
    version = loop.workspace.engine.model.version
    before = client.get("/page/images/0").json()["probabilities"]
    client.post("/page/train", json={"minutes": 0.5})
    state = finished(client, 200)
    assert state["status"] == "compared", state
    assert state["comparison"]["difference"] is not None
    assert client.post("/page/train/take").status_code == 200
    engine = loop.workspace.engine
    assert engine.model.version != version
    new = Tagger.load(run_in_use(run, tmp_path / "training"))
    states = {new.label_space.names[int(c)]: s for c, s in loop.workspace.known(0).items()}
    expected = new.predict(loop.workspace.pictures[0].source.render(), states)[0].probabilities  # type: ignore[union-attr]
    after = client.get("/page/images/0").json()["probabilities"]
    assert after[6:] == pytest.approx(expected[6:].tolist(), abs=1e-3)
    assert after != before
