"""The program: runs a command, and turns errors that the user can fix and Ctrl-C into exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from tagformer.errors import TagformerError
from tagformer.files import FULL, cannot_write
from tagformer.safe_text import printable

INTERRUPTED = 130  # the exit code of a program that Ctrl-C stopped
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of glibc's mallopt
IMPORTING = "<frozen importlib._bootstrap>"  # the file name of Python's import system in a stack


def main() -> None:
    """Run the command line; errors that the user can fix are one sentence, with exit code 2.

    The current folder is added to the Python path, at the end, so that ``my_module:MyModel`` is found there and an
    installed package of the same name is still preferred.

    >>> import sys
    >>> from tagformer.cli import main
    >>> sys.argv = ["tagformer", "--version"]
    >>> main()
    Traceback (most recent call last):
        ...
    SystemExit: 0
    """
    # PyTorch's threads sleep while they wait for each other. By default they spin, and beside other work on the same
    # cores a training in small steps then takes several times as long. Read when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with suppress(FileNotFoundError):  # the current folder was removed
        if not {"", str(Path.cwd())} & set(sys.path):
            sys.path.append(str(Path.cwd()))
    try:
        with _interruptible():
            _keep_freed_memory()
            from tagformer.cli.commands import app

            app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except TagformerError as error:
        _fail(error)
    except OSError as error:
        if error.errno in FULL or error.filename is None:
            _fail(cannot_write(error.filename or "the output", error))
        _fail(TagformerError(f"cannot read or write {error.filename} ({error.strerror}): check that it exists."))


def _fail(error: TagformerError) -> None:
    """Print an error as one line and exit."""
    line = " ".join(str(error).splitlines())
    print(f"tagformer: {printable(line)}", file=sys.stderr)
    sys.exit(error.exit_code)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within this context Ctrl-C raises KeyboardInterrupt, except during an import, where it ends the program at once.

    An import that is interrupted may go on, print a traceback, or end in an ImportError.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename == IMPORTING:
                os._exit(INTERRUPTED)
            frame = frame.f_back
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _keep_freed_memory() -> None:
    """Have glibc keep memory that was freed for the next request, up to 2 GiB of it.

    By default it gives each large block back to the system, and gets it again page by page: half of the time of a small
    network on a CPU. Other C libraries have no such setting, and stay as they are.
    """
    if "MALLOC_MMAP_MAX_" in os.environ or not sys.platform.startswith("linux"):
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
