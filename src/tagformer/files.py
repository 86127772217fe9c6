"""Reading, finding and writing files.

A file is written under a temporary name beside its place, flushed to the disk and renamed, so that a full disk or a
power cut leaves the old file or the new one. Only regular files are read: a pipe or a device could block for ever.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from tagformer.errors import CannotWriteError, TagformerError

__all__ = [
    "atomic_write",
    "check_output_file",
    "check_output_folder",
    "check_regular",
    "disk_errors",
    "first_existing",
    "is_hidden",
    "open_regular",
    "read_bytes",
    "read_json",
    "write_json",
    "write_text",
]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
DISK = FULL | {errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO}  # never an error of reading an image
HIDDEN_FOLDERS = frozenset({"__MACOSX"})  # besides those whose names begin with a dot


@contextmanager
def atomic_write(path: str | Path, make_folder: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, which replaces `path` once the block ends without an error.

    Args:
        path: the file to write.
        make_folder: create its folder where there is none. False where the folder was there before: then it was
            removed in the meantime.

    Raises:
        TagformerError: the folder cannot be created or written, or `path` exists and is not a regular file.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from tagformer.files import atomic_write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("complete")
    ...     (Path(folder) / "a.txt").read_text()
    'complete'
    """
    path = Path(path)
    check_output_file(path)
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:100]}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        with disk_errors(path, temporary):
            yield temporary
            mask = os.umask(0)  # there is no way to read it other than to set it
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
    finally:
        with suppress(OSError):  # the disk may have disappeared
            temporary.unlink()


@contextmanager
def disk_errors(path: Path, *written: Path) -> Iterator[None]:
    """Raise what a full, read-only or removed disk causes within the block as one sentence.

    Args:
        path: the file or folder that is written, for the message.
        written: files whose errors of any kind are errors of writing, such as a removed folder.

    Raises:
        CannotWriteError: the disk or one of the files cannot be written.

    >>> import errno
    >>> from pathlib import Path
    >>> from tagformer.files import disk_errors
    >>> with disk_errors(Path("a.txt")):
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    Traceback (most recent call last):
    tagformer.errors.CannotWriteError: cannot write a.txt (No space left on device): free some space, and run the \
same command again.
    """
    try:
        yield
    except TagformerError:
        raise
    except Exception as error:
        cause = _disk_error(error, {str(file) for file in (path, *written)})
        if cause is None:
            raise
        raise cannot_write(path, cause) from error


def cannot_write(path: Path | str, error: OSError) -> CannotWriteError:
    """The error that says why a file cannot be written, and what to do."""
    remedy = "choose another place"
    if error.errno in FULL:
        remedy = "free some space"
    elif error.errno == errno.ENOENT:
        remedy = "restore its folder, which was removed"
    return CannotWriteError(path, error.strerror or str(error), remedy)


def _disk_error(error: BaseException, files: set[str]) -> OSError | None:
    """The error of the operating system behind an exception, if it is one of the disk or of writing the files.

    PyTorch raises its own error while the system's is handled, and safetensors has the system's number in its text.
    """
    if rust := re.search(r"\(os error (\d+)\)", str(error)):
        number = int(rust[1])
        return OSError(number, os.strerror(number))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and (cause.errno in DISK or str(cause.filename) in files):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; where a folder cannot be opened, do nothing."""
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        if path.is_dir():  # Windows opens no folders
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot flush a folder
            raise
    finally:
        os.close(handle)


def check_output_file(path: Path | None) -> None:
    """Check before any work is done that a file can be written at `path`; None means that no file will be written.

    Raises:
        TagformerError: `path` exists and is not a regular file, but a folder or a device.
    """
    if path is not None and os.path.exists(path) and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise TagformerError(f"{path} is {kind}: name a file to write.")


def check_output_folder(path: Path) -> None:
    """Check before any work is done that a folder can be written at `path`.

    Raises:
        TagformerError: `path` exists and is not a folder.
    """
    if path.exists() and not path.is_dir():
        raise TagformerError(f"{path} is a file: name a folder for --out.")


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, replacing the file in one step."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, replacing the file in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        TagformerError: the file does not exist, is not UTF-8 or not JSON, or has a number or a nesting beyond Python's
            limits. The message names the file and, where the JSON is not valid, the line.
    """
    try:
        return json.loads(read_bytes(Path(path)).decode("utf-8-sig"))
    except OSError as error:
        raise TagformerError(f"cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise TagformerError(f"{path} is not UTF-8 text: save it as UTF-8 JSON.") from error
    except json.JSONDecodeError as error:
        raise TagformerError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}).") from error
    except (ValueError, RecursionError) as error:  # a number of too many digits, lists within lists
        reason = str(error).split(";")[0]
        raise TagformerError(
            f"cannot read {path} ({reason}): write shorter numbers, and fewer lists in lists."
        ) from error


def check_regular(path: Path) -> None:
    """Check that a path that exists is a regular file, or a symbolic link to one; reading others could block for ever.

    Raises:
        OSError: it is a folder, a pipe, a socket or a device, or the name is too long.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file, but a pipe, a socket or a device", str(path))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read its bytes.

    Raises:
        OSError: as `check_regular`, or the file cannot be read.
    """
    check_regular(path)
    return path.open("rb")


def read_bytes(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: as `check_regular`, or the file cannot be read.
    """
    with open_regular(path) as stream:
        return stream.read()


def is_hidden(path: Path) -> bool:
    """Whether a path below a folder is a hidden file or in a hidden folder: macOS and Jupyter leave copies there.

    Args:
        path: relative to the folder.

    >>> from pathlib import Path
    >>> from tagformer.files import is_hidden
    >>> [is_hidden(Path(name)) for name in ("a.jpg", "._a.jpg", "__MACOSX/a.jpg", ".ipynb_checkpoints/a.jpg")]
    [False, True, True, True]
    """
    return any(part.startswith(".") or part in HIDDEN_FOLDERS for part in path.parts)


def first_existing(folder: Path, *names: str, layout: str) -> Path:
    """The first of several paths below a folder that exists.

    Args:
        names: paths relative to the folder.
        layout: the data set whose documented layout the message refers to, for example "NUS-WIDE".

    Raises:
        TagformerError: none of the paths exists.
    """
    for name in names:
        if (folder / name).exists():
            return folder / name
    missing = f"neither {' nor '.join(names)}" if len(names) > 1 else f"no {names[0]}"
    raise TagformerError(f"{folder} has {missing}: see the layout of {layout}.")
