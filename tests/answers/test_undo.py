"""Undo and redo: without end, across restarts, and where several people answer the same cell."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

from tagformer.answers import AnswerStore, Change
from tests.answers.recording import record


def test_undo_and_redo_without_end_and_across_restarts(file: Path) -> None:
    """A random walk of 1,000 steps is walked back and forth; another person's answer in its middle stays."""
    draws = random.Random(0)
    seen: list[dict[str, dict[str, int]]] = [{}]
    with AnswerStore(file) as store:
        for _ in range(1000):
            record(store, "ann", (f"{draws.randrange(5)}.jpg", f"label {draws.randrange(4)}", draws.choice([1, 0, -1])))
            seen.append(store.all_states())
        for number in range(999, 499, -1):
            assert store.undo("ann") is not None
            assert store.all_states() == seen[number]
    with AnswerStore(file) as store:
        assert store.can_undo("ann") == (True, True)
        for number in range(499, -1, -1):
            assert store.undo("ann") is not None
            assert store.all_states() == seen[number]
        assert store.undo("ann") is None
        assert store.can_undo("ann") == (False, True)
        record(store, "ben", ("ben's.jpg", "dog", 1))
        for number in range(1, 1001):
            assert store.redo("ann") is not None
            states = store.all_states()
            assert states.pop("ben's.jpg") == {"dog": 1}
            assert states == seen[number]
        assert store.redo("ann") is None


def test_undo_leaves_what_another_person_answered_later(store: AnswerStore) -> None:
    record(store, "ann", ("a.jpg", "dog", 1), ("a.jpg", "cat", 1))
    record(store, "ben", ("a.jpg", "dog", 0))
    assert store.undo("ann") == [Change("a.jpg", "cat", -1)]
    assert store.states("a.jpg") == {"dog": 0}
    assert store.redo("ann") == [Change("a.jpg", "cat", 1)]
    assert store.states("a.jpg") == {"cat": 1, "dog": 0}
    record(store, "ben", ("a.jpg", "cat", 1))
    assert store.undo("ann") == [], "ben has confirmed it"
    assert store.states("a.jpg") == {"cat": 1, "dog": 0}


def test_a_file_of_version_1_is_read_anew(file: Path) -> None:
    """In that version an answer that both people had taken back stayed, and could not be taken back any more."""
    with AnswerStore(file) as store:
        for person in ("ann", "ben"):
            record(store, person, ("a.jpg", "dog", 1), ("b.jpg", "cat" if person == "ann" else "cow", 1))
        for person in ("ann", "ben"):
            store.undo(person)
        store.redo("ann")
    connection = sqlite3.connect(file)
    connection.execute("UPDATE states SET state = 1")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    for _ in range(2):
        with AnswerStore(file) as store:
            assert store.all_states() == {"a.jpg": {"dog": 1}, "b.jpg": {"cat": 1}}
    with AnswerStore(file) as store:
        store.undo("ann")
        assert store.all_states() == {}


def walk(store: AnswerStore, *steps: tuple[str, int | str]) -> dict[str, int]:
    """Answers of people on one cell, "undo" and "redo"; the states after them."""
    for person, what in steps:
        if isinstance(what, int):
            record(store, person, ("a.jpg", "dog", what))
        else:
            (store.undo if what == "undo" else store.redo)(person)
    return store.states("a.jpg")


def test_undo_of_two_steps_around_another_persons_answer(store: AnswerStore) -> None:
    steps = (("ann", 1), ("ben", 1), ("ann", 0), ("ann", "undo"), ("ann", "undo"))
    assert walk(store, *steps) == {"dog": 1}, "ben's answer stays"
    assert store.last_answers() == {("a.jpg", "dog"): ("ben", 1)}
    assert walk(store, ("ann", "redo")) == {"dog": 1}, "ben answered later"
    assert walk(store, ("ann", "redo")) == {"dog": 0}


def test_redo_leaves_another_persons_unknown(store: AnswerStore) -> None:
    assert walk(store, ("ann", 1), ("ben", -1), ("ann", "undo"), ("ann", "redo")) == {}


def test_an_answer_that_was_taken_back_does_not_return(store: AnswerStore) -> None:
    assert walk(store, ("ann", 1), ("ben", 0), ("ann", "undo")) == {"dog": 0}
    assert walk(store, ("ben", "undo")) == {}
    assert walk(store, ("ann", "redo")) == {"dog": 1}
    assert walk(store, ("ben", "redo")) == {"dog": 0}
    assert walk(store, ("ben", "undo"), ("ann", "undo")) == {}


def test_a_confirmation_that_was_taken_back_does_not_count(store: AnswerStore) -> None:
    walk(store, ("ann", 1), ("ben", 1))
    assert store.last_answers() == {("a.jpg", "dog"): ("ben", 2)}
    walk(store, ("ben", "undo"))
    assert store.last_answers() == {("a.jpg", "dog"): ("ann", 1)}


def test_the_last_answer_that_counts_is_the_state(store: AnswerStore) -> None:
    """Three people answer two cells, undo and redo at random: a list of their steps is the reference."""
    draws = random.Random(3)
    steps: list[tuple[str, str, int]] = []  # person, label, state
    taken_back: dict[str, list[int]] = {"ann": [], "ben": [], "cem": []}
    lost: dict[str, set[int]] = {}  # taken back, and a new answer came
    for _ in range(600):
        person = draws.choice(["ann", "ben", "cem"])
        mine, gone = [n for n, step in enumerate(steps) if step[0] == person], taken_back[person]
        action = draws.choice(["answer", "undo", "redo"])
        if action == "answer":
            steps.append((person, draws.choice(["dog", "cat"]), draws.choice([1, 0, -1])))
            record(store, person, ("a.jpg", *steps[-1][1:]))
            lost.setdefault(person, set()).update(gone)
            gone.clear()
        elif action == "undo" and (left := [n for n in mine if n not in gone and n not in lost.get(person, set())]):
            gone.append(left[-1])
            assert store.undo(person) is not None
        elif action == "undo":
            assert store.undo(person) is None
        elif gone:
            gone.pop()
            assert store.redo(person) is not None
        else:
            assert store.redo(person) is None
        out = {n for numbers in (*taken_back.values(), *lost.values()) for n in numbers}
        states = {label: state for n, (_, label, state) in enumerate(steps) if n not in out}
        assert store.states("a.jpg") == {label: state for label, state in states.items() if state != -1}


def test_a_new_answer_ends_what_could_be_done_again(store: AnswerStore) -> None:
    record(store, "ann", ("a.jpg", "dog", 1))
    record(store, "ann", ("a.jpg", "cat", 1))
    store.undo("ann")
    record(store, "ann", ("a.jpg", "cow", 1))
    assert store.can_undo("ann") == (True, False)
    assert store.redo("ann") is None
    assert store.undo("ann") == [Change("a.jpg", "cow", -1)]
    assert store.undo("ann") == [Change("a.jpg", "dog", -1)]
    assert store.undo("ann") is None
