"""What people answered: a file that many may write at once, and in which nothing that was acknowledged is lost."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tagformer.answers.change import Change, Entry
from tagformer.answers.schema import APPLICATION, SCHEMA, VERSION
from tagformer.errors import CannotWriteError, TagformerError
from tagformer.files import cannot_write
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN

WAIT = 20.0  # seconds for the turn to write
STATES = (PRESENT, ABSENT, UNKNOWN)
Row = tuple[Any, ...]


class AnswerStore:
    """Answers in an SQLite file; safe for several threads and processes.

    A step is what one call of `record` saves; `undo` takes whole steps back, without end and across restarts.

    Args:
        path: of the file; it is made where it does not exist.

    Raises:
        TagformerError: the file is something else, or of a newer version of this program.
        CannotWriteError: it cannot be written.

    >>> from pathlib import Path
    >>> from tagformer.answers import AnswerStore, Change
    >>> with AnswerStore(Path("answers.sqlite")) as store:
    ...     step = store.record("ann", "v1", [Change("a.jpg", "dog", 1), Change("a.jpg", "cat", 0)], request="r1")
    ...     before = store.states("a.jpg")
    ...     changed = store.undo("ann")
    ...     before, [(change.label, change.state) for change in changed], store.states("a.jpg")
    ({'cat': 0, 'dog': 1}, [('dog', -1), ('cat', -1)], {})
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise self._error(error) from error
        except OSError as error:
            raise cannot_write(path, error) from error

    def _prepare(self) -> None:
        execute = self._connection.execute
        tables = execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application = execute("PRAGMA application_id").fetchone()[0]
        version = execute("PRAGMA user_version").fetchone()[0]
        if tables and application != APPLICATION:
            raise TagformerError(f"{self.path} is no file of answers: choose another folder.")
        if version > VERSION:
            raise TagformerError(f"{self.path} was written by a newer version of Tagformer: install that one.")
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=FULL")
        execute("PRAGMA foreign_keys=ON")
        with self._writing() as cursor:
            for statement in SCHEMA:
                cursor.execute(statement)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, person: str, version: str, changes: Sequence[Change], request: str) -> int:
        """Save answers as one step, and give its number; they are on the disk when this returns.

        Args:
            person: who answered.
            version: of the model whose predictions the person saw.
            changes: each cell at most once counts, the last one; those that change nothing are kept as confirmations.
            request: an id of the caller's; a step with the same id is not saved again.

        Raises:
            TagformerError: a state that is none of 1, 0 and -1.
            CannotWriteError: the disk is full or read-only.
        """
        wrong = [change for change in changes if change.state not in STATES]
        if wrong:
            first = wrong[0]
            raise TagformerError(f"{first.label} of {first.image} has the state {first.state}: use 1, 0 or -1.")
        cells = {(change.image, change.label): change.state for change in changes}
        with self._writing() as cursor:
            there = cursor.execute("SELECT step FROM steps WHERE request = ?", (request,)).fetchone()
            if there:
                return int(there[0])
            cursor.execute("DELETE FROM undone WHERE person = ?", (person,))
            return self._save(cursor, person, version, cells, request, "answer")

    def undo(self, person: str) -> list[Change] | None:
        """Take back the last step of a person that was not taken back yet, and give the changes; None if none is left.

        Cells that another step has changed since are left as they are.
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
            changes = self._reverse(cursor, step, person, "undo")
            cursor.execute("INSERT INTO taken_back VALUES (?)", (step,))
            cursor.execute("INSERT INTO undone (person, step) VALUES (?, ?)", (person, step))
            return changes

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
            return self._reverse(cursor, step, person, "redo")

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
        """Who answered a cell last, and how often the same in a row: (image, label) -> (person, times)."""
        last: dict[tuple[str, str], tuple[str, int]] = {}
        rows = self._read(
            "SELECT image, label, person, before, after FROM answers JOIN steps USING (step) ORDER BY answers.rowid"
        )
        for image, label, person, before, after in rows:
            times = last.get((image, label), ("", 0))[1] if before == after else 0
            last[image, label] = (person, times + 1)
        return last

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

    def _reverse(self, cursor: sqlite3.Cursor, step: int, person: str, kind: str) -> list[Change]:
        """Set the cells of a step to what they were before it (undo) or after it (redo), unless others changed them."""
        rows = cursor.execute(
            "SELECT image, label, before, after, states.state, states.step FROM answers "
            "JOIN states USING (image, label) WHERE answers.step = ?",
            (step,),
        ).fetchall()
        version = cursor.execute("SELECT version FROM steps WHERE step = ?", (step,)).fetchone()[0]
        person_of = "SELECT person FROM steps WHERE step = ?"
        changes = []
        for image, label, before, after, state, last in rows:
            goal, expected = (before, after) if kind == "undo" else (after, before)
            by = cursor.execute(person_of, (last,)).fetchone()[0]
            if by == person and state == expected and goal != state:
                changes.append(Change(image, label, goal))
        if changes:
            self._save(cursor, person, version, {(c.image, c.label): c.state for c in changes}, None, kind)
        return changes

    def _read(self, query: str, *values: Any) -> list[Row]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise self._error(error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        """A transaction that nobody else writes in; on the disk when it ends."""
        with self._lock:
            cursor = self._connection.cursor()
            try:
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    yield cursor
                    cursor.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        cursor.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> TagformerError:
        if "not a database" in str(error) or "malformed" in str(error):
            return TagformerError(f"{self.path} is no file of answers ({error}): choose another folder.")
        return CannotWriteError(self.path, str(error), "free some space or choose another folder")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
