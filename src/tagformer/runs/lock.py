"""A lock on a run folder: only one training writes to it at a time.

The lock is a file with the process that holds it: host, process id, and when that process started, since ids are used
again. A process that was killed leaves its lock behind; on the same host that is recognised, and the lock is replaced.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from tagformer.errors import TagformerError
from tagformer.files import check_output_folder, disk_errors

try:
    import fcntl
except ImportError:  # Windows: two processes that start in the same millisecond look like one
    fcntl = None  # type: ignore[assignment]

LOCK = "training.lock"


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock.

    Attributes:
        host: the name of its machine.
        pid: its process id.
        started: when it started, in the kernel's units; 0 where that is unknown.
    """

    host: str
    pid: int
    started: int

    @classmethod
    def current(cls) -> Holder:
        """This process."""
        return cls(socket.gethostname(), os.getpid(), _started(os.getpid()))

    @classmethod
    def parse(cls, content: bytes) -> Holder | None:
        """The holder that a lock names; None where it is empty or damaged, as a power cut may leave it."""
        try:
            values = json.loads(content)
            return cls(str(values["host"]), int(values["pid"]), int(values["started"]))
        except (ValueError, TypeError, KeyError):
            return None

    @property
    def alive(self) -> bool:
        """Whether the process still runs; assumed of a process on another host."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:  # it runs, as another user
            return True
        return not self.started or _started(self.pid) == self.started


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder; the folder is created where there is none, and removed if it stays empty.

    Raises:
        TagformerError: another process holds it, or the folder cannot be written.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from tagformer.runs.lock import LOCK, run_lock
    >>> with TemporaryDirectory() as folder:
    ...     with run_lock(Path(folder)):
    ...         (Path(folder) / LOCK).is_file()
    ...     (Path(folder) / LOCK).is_file()
    True
    False
    """
    check_output_folder(folder)
    new = not folder.exists()
    path = folder / LOCK
    with disk_errors(folder, folder, path):
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        if new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _acquire(path: Path) -> None:
    while True:
        with path.open("a+b") as stream:
            _exclude_others(stream)
            if not _is_at(stream, path):  # the holder removed it in between
                continue
            stream.seek(0)
            holder = Holder.parse(stream.read())
            if holder is not None and holder.alive:
                raise TagformerError(
                    f"{path.parent} is in use by process {holder.pid} on {holder.host}: wait until that training ends, "
                    f"or choose another --out. If there is no such process, delete {path}."
                )
            stream.truncate(0)
            stream.write(json.dumps(asdict(Holder.current())).encode())
            stream.flush()
            return


def _exclude_others(stream: BinaryIO) -> None:
    """Wait until no other process reads or writes the lock's content; the system ends this when the file is closed."""
    if fcntl is not None:
        with suppress(OSError):  # a network disk may have no such locks
            fcntl.flock(stream, fcntl.LOCK_EX)


def _is_at(stream: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _started(pid: int) -> int:
    """When a process started, from Linux's /proc; 0 elsewhere."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(content.rpartition(")")[2].split()[19])
