"""A file of answers: many may write at once, and nothing that was acknowledged is lost."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagformer.answers.schema import APPLICATION, FROM_VERSION_1, SCHEMA, VERSION
from tagformer.errors import CannotWriteError, TagformerError
from tagformer.files import cannot_write

if TYPE_CHECKING:
    from typing_extensions import Self

WAIT = 20.0  # seconds for the turn to write
Row = tuple[Any, ...]


class AnswerFile:
    """An SQLite file with the tables of answers, in WAL mode: a transaction is on the disk when it ends.

    Args:
        path: of the file; it is made where it does not exist.

    Raises:
        TagformerError: the file is something else, or of a newer version of this program.
        CannotWriteError: it cannot be written.

    >>> from pathlib import Path
    >>> from tagformer.answers.answer_file import AnswerFile
    >>> with AnswerFile(Path("answers.sqlite")) as file:
    ...     file.path.exists()
    True
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
            if version == 1:
                cursor.execute(FROM_VERSION_1)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, query: str, *values: Any) -> list[Row]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except (sqlite3.Error, UnicodeEncodeError) as error:
                raise self._error(error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        """A transaction that nobody else writes in; on the disk when it ends."""
        with self._lock:
            try:
                cursor = self._connection.cursor()
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    yield cursor
                    cursor.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        cursor.execute("ROLLBACK")
                    raise
            except (sqlite3.Error, UnicodeEncodeError) as error:
                raise self._error(error) from error

    def _error(self, error: sqlite3.Error | UnicodeEncodeError) -> TagformerError:
        if isinstance(error, UnicodeEncodeError):
            return TagformerError(f"the name {error.object!r} is no UTF-8 text: rename it.")
        text = str(error)
        if "not a database" in text or "malformed" in text:
            return TagformerError(f"{self.path} is no file of answers ({error}): choose another folder.")
        if "locked" in text:
            return TagformerError(f"{self.path} is in use by another program ({error}): close it, and try again.")
        if "closed" in text:
            return TagformerError(f"{self.path} was closed, for the server is stopping: start it again.")
        remedy = "free some space" if "full" in text else "make it writable"
        return CannotWriteError(self.path, text, f"{remedy} or choose another folder")
