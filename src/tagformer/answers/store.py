"""What people answered, who takes which answer back, and who works on which image."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from datetime import datetime, timezone

from tagformer.answers.answer_file import AnswerFile
from tagformer.answers.change import Change, Entry
from tagformer.answers.schema import COUNTED
from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN

STATES = (PRESENT, ABSENT, UNKNOWN)


class AnswerStore(AnswerFile):
    """Answers of many people; safe for several threads and processes.

    A step is what one call of `record` saves; `undo` takes whole steps back, without end and across restarts. The state
    of a cell, one label of one image, is its last answer that was not taken back.

    Arguments and errors are those of `AnswerFile`.

    >>> from pathlib import Path
    >>> from tagformer.answers import AnswerStore, Change
    >>> with AnswerStore(Path("answers.sqlite")) as store:
    ...     step = store.record("ann", "v1", [Change("a.jpg", "dog", 1), Change("a.jpg", "cat", 0)], request="r1")
    ...     before = store.states("a.jpg")
    ...     changed = store.undo("ann")
    ...     before, [(change.label, change.state) for change in changed], store.states("a.jpg")
    ({'cat': 0, 'dog': 1}, [('dog', -1), ('cat', -1)], {})
    """

    def record(self, person: str, version: str, changes: Sequence[Change], request: str) -> int:
        """Save answers as one step, and give its number; they are on the disk when this returns.

        Args:
            person: who answered.
            version: of the model whose predictions the person saw.
            changes: each cell at most once counts, the last one; those that change nothing are kept as confirmations.
            request: an id of the caller's; a step that is sent again with the same id is not saved again.

        Raises:
            TagformerError: a state that is none of 1, 0 and -1, a name that is no text, or a request of other answers.
            CannotWriteError: the disk is full or read-only.
        """
        wrong = [change for change in changes if change.state not in STATES]
        if wrong:
            first = wrong[0]
            raise TagformerError(f"{first.label} of {first.image} has the state {first.state}: use 1, 0 or -1.")
        cells = {(change.image, change.label): change.state for change in changes}
        with self._writing() as cursor:
            there = cursor.execute("SELECT step, person FROM steps WHERE request = ?", (request,)).fetchone()
            if there:
                rows = cursor.execute("SELECT image, label, after FROM answers WHERE step = ?", (there[0],))
                if there[1] != person or {(image, label): after for image, label, after in rows} != cells:
                    raise TagformerError(f"the request {request!r} was sent before, with other answers: use a new id.")
                return int(there[0])
            cursor.execute("DELETE FROM undone WHERE person = ?", (person,))
            return self._save(cursor, person, version, cells, request, "answer")

    def undo(self, person: str) -> list[Change] | None:
        """Take back the last step of a person that was not taken back yet, and give the changes; None if none is left.

        A cell that was answered later, too, or was only confirmed, stays as it is, so there may be no change.
        """
        with self._writing() as cursor:
            row = cursor.execute(
                "SELECT max(step) FROM steps WHERE person = ? AND kind = 'answer' "
                "AND step NOT IN (SELECT step FROM taken_back)",
                (person,),
            ).fetchone()
            if row[0] is None:
                return None
            step = int(row[0])
            cursor.execute("INSERT INTO taken_back VALUES (?)", (step,))
            cursor.execute("INSERT INTO undone (person, step) VALUES (?, ?)", (person, step))
            return self._follow(cursor, step, person, "undo")

    def redo(self, person: str) -> list[Change] | None:
        """Do again what a person took back last, and give the changes; None where nothing is left."""
        with self._writing() as cursor:
            row = cursor.execute(
                "SELECT number, step FROM undone WHERE person = ? ORDER BY number DESC LIMIT 1", (person,)
            ).fetchone()
            if row is None:
                return None
            number, step = row
            cursor.execute("DELETE FROM undone WHERE number = ?", (number,))
            cursor.execute("DELETE FROM taken_back WHERE step = ?", (step,))
            return self._follow(cursor, step, person, "redo")

    def can_undo(self, person: str) -> tuple[bool, bool]:
        """Whether a person has a step to take back, and one to do again."""
        undoable = self._read(
            "SELECT 1 FROM steps WHERE person = ? AND kind = 'answer' "
            "AND step NOT IN (SELECT step FROM taken_back) LIMIT 1",
            person,
        )
        return bool(undoable), bool(self._read("SELECT 1 FROM undone WHERE person = ? LIMIT 1", person))

    def states(self, image: str) -> dict[str, int]:
        """The answers on an image, label -> 1 or 0, in the order of the labels' names."""
        rows = self._read("SELECT label, state FROM states WHERE image = ? AND state >= 0 ORDER BY label", image)
        return dict(rows)

    def all_states(self) -> dict[str, dict[str, int]]:
        """The answers on all images that have some: image -> label -> 1 or 0."""
        found: dict[str, dict[str, int]] = {}
        for image, label, state in self._read("SELECT image, label, state FROM states WHERE state >= 0"):
            found.setdefault(image, {})[label] = state
        return found

    def history(self, image: str) -> list[Entry]:
        """All answers on an image, the oldest first."""
        rows = self._read(
            "SELECT person, at, version, label, before, after FROM answers JOIN steps USING (step) WHERE image = ? "
            "ORDER BY answers.rowid",
            image,
        )
        return [Entry(*row) for row in rows]

    def last_answers(self) -> dict[tuple[str, str], tuple[str, int]]:
        """Who answered a cell last, and how often the same in a row: (image, label) -> (person, times).

        Answers that were taken back do not count.
        """
        last: dict[tuple[str, str], tuple[str, int, int]] = {}
        rows = self._read(f"SELECT image, label, person, after {COUNTED} ORDER BY answers.rowid")
        for image, label, person, state in rows:
            _, before, times = last.get((image, label), ("", None, 0))
            last[image, label] = (person, state, times + 1 if before == state else 1)
        return {cell: (person, times) for cell, (person, _, times) in last.items()}

    def submit(self, image: str, person: str, done: bool = True) -> None:
        """An image is done, or not any more."""
        with self._writing() as cursor:
            if done:
                cursor.execute("INSERT OR REPLACE INTO submitted VALUES (?, ?, ?)", (image, person, _now()))
            else:
                cursor.execute("DELETE FROM submitted WHERE image = ?", (image,))
            cursor.execute("DELETE FROM leases WHERE image = ?", (image,))

    def submitted(self) -> set[str]:
        """The images that are done."""
        return {image for (image,) in self._read("SELECT image FROM submitted")}

    def lease(self, person: str, images: Sequence[str], seconds: float = 600, count: int = 1) -> list[str]:
        """The first images of a list that are not done and that nobody else has; for a time nobody else gets them."""
        now = time.time()
        with self._writing() as cursor:
            cursor.execute("DELETE FROM leases WHERE until < ?", (now,))
            others = {i for (i,) in cursor.execute("SELECT image FROM leases WHERE person != ?", (person,))}
            done = {image for (image,) in cursor.execute("SELECT image FROM submitted")}
            taken = [image for image in images if image not in others and image not in done][:count]
            rows = [(image, person, now + seconds) for image in taken]
            cursor.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", rows)
        return taken

    def release(self, person: str) -> None:
        """Give back the images that a person has."""
        with self._writing() as cursor:
            cursor.execute("DELETE FROM leases WHERE person = ?", (person,))

    def _save(
        self,
        cursor: sqlite3.Cursor,
        person: str,
        version: str,
        cells: dict[tuple[str, str], int],
        request: str | None,
        kind: str,
    ) -> int:
        """Write a step and the states that it gives; its number."""
        cursor.execute(
            "INSERT INTO steps (person, at, version, kind, request) VALUES (?, ?, ?, ?, ?)",
            (person, _now(), version, kind, request),
        )
        step = int(cursor.lastrowid or 0)
        for (image, label), state in cells.items():
            found = cursor.execute("SELECT state FROM states WHERE image = ? AND label = ?", (image, label)).fetchone()
            before = UNKNOWN if found is None else found[0]
            cursor.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", (step, image, label, before, state))
            cursor.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)", (image, label, state, step))
        return step

    def _follow(self, cursor: sqlite3.Cursor, step: int, person: str, kind: str) -> list[Change]:
        """Bring the cells of a step to their last answers that count, now that it is taken back or done again."""
        changes = []
        for image, label, state in cursor.execute(
            "SELECT image, label, state FROM states JOIN answers USING (image, label) WHERE answers.step = ?", (step,)
        ).fetchall():
            last = cursor.execute(
                f"SELECT after {COUNTED} AND image = ? AND label = ? ORDER BY answers.rowid DESC LIMIT 1",
                (image, label),
            ).fetchone()
            goal = UNKNOWN if last is None else last[0]
            if goal != state:
                changes.append(Change(image, label, goal))
        if changes:
            version = cursor.execute("SELECT version FROM steps WHERE step = ?", (step,)).fetchone()[0]
            self._save(cursor, person, version, {(c.image, c.label): c.state for c in changes}, None, kind)
        return changes


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
