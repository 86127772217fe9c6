"""Answers: what is saved, taken back, leased, and what happens to the file when processes are killed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tagformer.answers import AnswerStore, Change
from tagformer.errors import CannotWriteError, TagformerError
from tests.answers.recording import record

NAMES = [
    "a 'quoted' \"name\"",
    "comma, semicolon; tab\t",
    "two\nlines",
    "Größe 猫 🐈",
    "x'); DROP TABLE states; --",
    "%_",
]


def test_names_of_any_characters(store: AnswerStore) -> None:
    record(store, "Zoë; --", *((image, label, 1) for image in NAMES for label in NAMES))
    assert store.all_states() == {image: dict.fromkeys(sorted(NAMES, key=str.encode), 1) for image in NAMES}
    assert store.states(NAMES[0]).keys() == set(NAMES)
    assert store.states("another") == {}


def test_five_thousand_labels(store: AnswerStore) -> None:
    labels = [f"label {number:04d}" for number in range(5000)]
    record(store, "ann", *(("a.jpg", label, number % 2) for number, label in enumerate(labels)))
    assert store.states("a.jpg") == {label: number % 2 for number, label in enumerate(labels)}
    changes = store.undo("ann")
    assert changes is not None
    assert len(changes) == 5000
    assert store.states("a.jpg") == {}


def test_history_has_who_when_and_what(store: AnswerStore) -> None:
    record(store, "ann", ("a.jpg", "dog", 1))
    record(store, "ben", ("a.jpg", "dog", 0), ("a.jpg", "cat", 1), ("b.jpg", "cat", 1))
    history = store.history("a.jpg")
    assert [(e.person, e.version, e.label, e.before, e.after) for e in history] == [
        ("ann", "v1", "dog", -1, 1),
        ("ben", "v1", "dog", 1, 0),
        ("ben", "v1", "cat", -1, 1),
    ]
    assert history[0].when.endswith("+00:00")
    assert history[0].when <= history[1].when
    assert store.last_answers() == {
        ("a.jpg", "dog"): ("ben", 1),
        ("a.jpg", "cat"): ("ben", 1),
        ("b.jpg", "cat"): ("ben", 1),
    }
    record(store, "ann", ("a.jpg", "dog", 0))
    assert store.last_answers()["a.jpg", "dog"] == ("ann", 2), "the same again is a confirmation"


def test_a_request_that_is_sent_twice_is_saved_once(store: AnswerStore) -> None:
    first = record(store, "ann", ("a.jpg", "dog", 1), request="r")
    record(store, "ben", ("a.jpg", "dog", 0))
    assert record(store, "ann", ("a.jpg", "dog", 1), request="r") == first
    assert store.states("a.jpg") == {"dog": 0}
    assert len(store.history("a.jpg")) == 2


@pytest.mark.parametrize(("person", "state"), [("ben", 1), ("ann", 0)])
def test_a_request_of_other_answers_is_refused(store: AnswerStore, person: str, state: int) -> None:
    record(store, "ann", ("a.jpg", "dog", 1), request="r")
    with pytest.raises(TagformerError, match="the request 'r' was sent before, with other answers: use a new id"):
        record(store, person, ("a.jpg", "dog", state), request="r")
    assert store.states("a.jpg") == {"dog": 1}


def test_a_name_that_is_no_text_is_one_sentence(store: AnswerStore) -> None:
    with pytest.raises(TagformerError, match=r"the name 'caf\\udce9\.jpg' is no UTF-8 text: rename it"):
        record(store, "ann", ("a.jpg", "dog", 1), (b"caf\xe9.jpg".decode(errors="surrogateescape"), "dog", 1))
    assert store.all_states() == {}
    strange = "\ud800"
    for call in (
        lambda: store.record("ann", strange, [Change("a.jpg", "dog", 1)], request="r"),
        lambda: store.record("ann", "v1", [Change("a.jpg", "dog", 1)], request=strange),
        lambda: store.undo(strange),
        lambda: store.redo(strange),
        lambda: store.can_undo(strange),
        lambda: store.submit("a.jpg", strange),
        lambda: store.lease(strange, ["a.jpg"]),
    ):
        with pytest.raises(TagformerError, match=r"the name '\\ud800' is no UTF-8 text"):
            call()
    assert store.all_states() == {}
    assert store.submitted() == set()


def test_a_state_that_does_not_exist_saves_nothing(store: AnswerStore) -> None:
    with pytest.raises(TagformerError, match=r"cat of a\.jpg has the state 2: use 1, 0 or -1"):
        record(store, "ann", ("a.jpg", "dog", 1), ("a.jpg", "cat", 2))
    assert store.all_states() == {}


def test_two_people_do_not_get_the_same_image(file: Path) -> None:
    """Four threads with connections of their own take images from one queue until it is empty."""
    images = [f"{number}.jpg" for number in range(200)]
    taken: dict[str, list[str]] = {}

    def work(person: str) -> None:
        with AnswerStore(file) as store:
            while got := store.lease(person, images):
                taken.setdefault(person, []).extend(got)
                store.submit(got[0], person)

    AnswerStore(file).close()
    threads = [threading.Thread(target=work, args=(person,)) for person in ("ann", "ben", "cem", "dai")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [image for of_person in taken.values() for image in of_person]
    assert sorted(everything) == sorted(images)
    with AnswerStore(file) as store:
        assert store.submitted() == set(images)


def test_a_lease_ends_and_is_given_back(store: AnswerStore) -> None:
    images = ["a.jpg", "b.jpg", "c.jpg"]
    assert store.lease("ann", images, count=2) == ["a.jpg", "b.jpg"]
    assert store.lease("ben", images, count=2) == ["c.jpg"]
    assert store.lease("ann", images) == ["a.jpg"], "one's own is given again"
    store.release("ann")
    assert store.lease("ben", images, seconds=-1, count=3) == images
    assert store.lease("ann", images, count=3) == images, "the time of the other leases is over"
    store.submit("b.jpg", "ann")
    assert store.lease("ann", images, count=3) == ["a.jpg", "c.jpg"]
    store.submit("b.jpg", "ann", done=False)
    assert store.submitted() == set()
    assert store.lease("ann", images, count=3) == images


def test_a_killed_process_loses_nothing_that_was_acknowledged(file: Path) -> None:
    """Twenty times: a process records answers and is killed at a random moment; the next one sends the last again."""
    draws, first = random.Random(1), 0
    command = [sys.executable, "-m", "tests.answers.recorder", str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(20):
            process.stdin.write(f"{first}\n")
            child = int(process.stdout.readline())
            time.sleep(draws.uniform(0.01, 0.15))
            os.kill(child, signal.SIGKILL)
            acknowledged = [int(line) for line in iter(process.stdout.readline, "over\n")]
            with sqlite3.connect(file) as connection:
                rows = connection.execute("SELECT image, label, after FROM answers").fetchall()
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            connection.close()
            assert len(rows) == len(set(rows)), "nothing is double"
            last = max(acknowledged, default=first - 1)
            assert {(f"{number}.jpg", "dog", 1) for number in range(last + 1)} <= set(rows)
            first = max(0, last)  # the client does not know whether the one after it was saved, so it sends it again
        process.stdin.close()
    assert first > 0


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("no database" * 100)
    with pytest.raises(TagformerError, match="is no file of answers"):
        AnswerStore(text)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = other.read_bytes()
    with pytest.raises(TagformerError, match=r"is no file of answers: choose another folder"):
        AnswerStore(other)
    assert other.read_bytes() == before


def test_a_file_of_a_newer_version_is_left_alone(file: Path) -> None:
    AnswerStore(file).close()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(TagformerError, match="newer version"):
        AnswerStore(file)


def test_a_disk_that_is_full_is_one_sentence(file: Path, store: AnswerStore) -> None:
    record(store, "ann", ("a.jpg", "dog", 1))
    store._connection.execute("PRAGMA max_page_count = 20")
    with pytest.raises(CannotWriteError, match="full"):
        record(store, "ann", *((f"{number}.jpg", "a long label " * 20, 1) for number in range(1000)))
    assert store.all_states() == {"a.jpg": {"dog": 1}}
    store._connection.execute("PRAGMA max_page_count = 100000")
    record(store, "ann", ("b.jpg", "dog", 1))
    assert store.states("b.jpg") == {"dog": 1}


def test_a_file_in_use_is_one_sentence(file: Path, store: AnswerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagformer.answers.answer_file.WAIT", 0.05)
    with sqlite3.connect(file, isolation_level=None) as other, AnswerStore(file) as impatient:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TagformerError, match=r"is in use by another program .*: close it, and try again"):
            record(impatient, "ann", ("a.jpg", "dog", 1))
        other.execute("ROLLBACK")
        record(impatient, "ann", ("a.jpg", "dog", 1))
    other.close()
    assert store.states("a.jpg") == {"dog": 1}


def test_a_closed_file_is_one_sentence(file: Path) -> None:
    store = AnswerStore(file)
    store.close()
    with pytest.raises(TagformerError, match="was closed"):
        record(store, "ann", ("a.jpg", "dog", 1))
    with pytest.raises(TagformerError, match="was closed"):
        store.states("a.jpg")
