"""The folder of remembered features: a bank per network, preprocessing and view, and a bound on their size."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from tagformer.errors import CannotWriteError, DoesNotFitError
from tagformer.features.segment import SUFFIX
from tagformer.files import cannot_write, disk_errors

try:
    import fcntl
except ImportError:  # Windows: there a file that is in use cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

VARIABLE = "TAGFORMER_CACHE"
DEFAULT_GB = 20.0
USED = "used"  # a file in each bank: who reads the bank holds a shared lock on it; its time is that of the last use
THEN = f"run the same command again, or name another folder in {VARIABLE}, or remember nothing with --cache-gb 0"


def _ignore(line: str) -> None:
    pass


def default_folder() -> Path:
    """``features`` in the folder that the variable TAGFORMER_CACHE names, or in ``~/.cache/tagformer``."""
    base = os.environ.get(VARIABLE) or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tagformer"
    return Path(base).expanduser().absolute() / "features"


class Bank:
    """The remembered features of one network, preprocessing and view: a folder of segments.

    It is in use, and not removed to make room, as long as this object is there.

    Attributes:
        folder: where the segments are.
        key: a digest of all that the features depend on, except the image.
    """

    def __init__(self, store: Path, key: str) -> None:
        self.folder, self.key = store / key, key
        self.writing = FileLock(store / f"{key}.lock")
        self._user: BinaryIO | None = None

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())

    def segment_files(self) -> list[Path]:
        """The files of its segments, in a fixed order; none where the folder does not exist."""
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def use(self) -> None:
        """Say that the bank is in use, and remove what a killed process left half written; `writing` is held."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._user = (self.folder / USED).open("ab")
        if fcntl is not None:
            with suppress(OSError):  # a network disk may have no such locks
                fcntl.flock(self._user, fcntl.LOCK_SH)
        os.utime(self.folder / USED)
        for file in self.folder.glob(".*"):
            file.unlink(missing_ok=True)

    def remove(self) -> bool:
        """Remove the bank unless it is in use; whether it was removed."""
        try:
            with self.writing.acquire(timeout=0):
                if self._in_use():
                    return False
                shutil.rmtree(self.folder)
        except (Timeout, NotImplementedError, OSError):
            return False
        return True

    def _in_use(self) -> bool:
        if fcntl is None or not (self.folder / USED).is_file():
            return False
        with (self.folder / USED).open("ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:  # no locks on this disk: it cannot be known
                return False
        return False


class FeatureStore:
    """Where remembered features are kept, and how much room they may take.

    Args:
        folder: None: `default_folder`.
        limit_gb: the most that all banks together may take, in 10^9 bytes; they never take more than half of the disk
            space that is not used otherwise.
        message: called with lines of text on what is computed, removed or waited for.

    >>> from pathlib import Path
    >>> from tagformer.features import FeatureStore
    >>> store = FeatureStore(Path("cache"), limit_gb=1)
    >>> store.folder.name, store.banks()
    ('cache', [])
    """

    def __init__(
        self, folder: Path | None = None, limit_gb: float = DEFAULT_GB, message: Callable[[str], None] = _ignore
    ) -> None:
        self.folder = folder or default_folder()
        self.limit_gb = limit_gb
        self.message = message

    def bank(self, key: str) -> Bank:
        """The bank of a key; its folder may not exist yet."""
        return Bank(self.folder, key)

    def banks(self) -> list[Bank]:
        """All banks, the one that was not used for the longest time first."""
        found = []
        for mark in self.folder.glob(f"*/{USED}"):
            with suppress(FileNotFoundError):  # another process removes it
                found.append((mark.stat().st_mtime, mark.parent.name))
        return [self.bank(key) for _, key in sorted(found)]

    @contextmanager
    def open(self, keys: Sequence[str]) -> Iterator[list[Bank]]:
        """Hold the right to write banks; where another process has it, say so and wait.

        Raises:
            CannotWriteError: the folder cannot be written.
        """
        banks = {key: self.bank(key) for key in sorted(set(keys))}  # all processes in the same order
        with _writable(self.folder), ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                for bank in banks.values():
                    stack.enter_context(_waiting(bank.writing, self.message))
                    bank.use()
            except OSError as error:
                raise cannot_write(self.folder, error) from error
            yield [banks[key] for key in keys]

    def make_room(self, needed: int, banks: Sequence[Bank]) -> list[str]:
        """Remove the banks that were not used for the longest time until `needed` more bytes fit.

        Args:
            needed: bytes that will be written.
            banks: those that are written; they stay, as all that other processes use.

        Returns:
            The keys of the removed banks.

        Raises:
            DoesNotFitError: the features do not fit even then.
        """
        own = {bank.key for bank in banks}
        sizes: dict[str, int] = {}
        for bank in self.banks():
            with suppress(FileNotFoundError):
                sizes[bank.key] = bank.size
        free = shutil.disk_usage(self.folder).free
        allowed = min(self.limit_gb * 1e9, (free + sum(sizes.values())) / 2)
        removed: list[str] = []
        others = [bank for bank in self.banks() if bank.key not in own]
        staying = sum(size for key, size in sizes.items() if key in own)
        if needed + staying <= allowed:
            while others and needed + sum(sizes.values()) > allowed:
                bank = others.pop(0)
                if bank.remove():
                    removed.append(bank.key)
                    sizes.pop(bank.key, None)
        if needed + sum(sizes.values()) > allowed:
            reason = "--cache-gb" if allowed == self.limit_gb * 1e9 else "half of the free disk space"
            raise DoesNotFitError(
                f"the features of these images need {size_text(needed + staying)}, but {reason} allows "
                f"{size_text(allowed)} for all that is in {self.folder}: allow more, name another disk in {VARIABLE}, "
                "or use fewer views or smaller images."
            )
        return removed


def _waiting(lock: FileLock, message: Callable[[str], None]) -> AbstractContextManager[Any]:
    """Acquire a lock; where another process has it, say so and wait.

    Some network disks have no locks. There two processes compute the same, and neither damages what the other writes.
    """
    try:
        return lock.acquire(timeout=0)
    except NotImplementedError:
        return nullcontext()
    except Timeout:
        message("Another process is computing the same features: waiting until it is done.")
        return lock.acquire()


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Raise what a full or read-only disk causes within the block as one sentence that says how to do without.

    Raises:
        CannotWriteError: something below `path` cannot be written.
    """
    try:
        with disk_errors(path, path):
            yield
    except CannotWriteError as error:
        raise CannotWriteError(error.path, error.reason, error.remedy, THEN) from error


def size_text(size: float) -> str:
    """Bytes in words.

    >>> size_text(644_812_800), size_text(20e9), size_text(900)
    ('645 MB', '20.0 GB', '1 kB')
    """
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
