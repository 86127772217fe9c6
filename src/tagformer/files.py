"""Reading, finding and writing files. A file is written under a temporary name first, so no old file is half lost."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagformer.errors import TagformerError

__all__ = [
    "atomic_write",
    "check_output_file",
    "check_output_folder",
    "first_existing",
    "read_json",
    "write_json",
    "write_text",
]


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, which replaces `path` once the block ends without an error.

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
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise TagformerError(f"cannot write {path}: {error.strerror or error}; choose another place.") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)  # there is no way to read it other than to set it
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_output_file(path: Path | None) -> None:
    """Check before any work is done that a file can be written at `path`; None means that no file will be written.

    Raises:
        TagformerError: `path` exists and is not a regular file, but a folder or a device.
    """
    if path is not None and path.exists() and not path.is_file():
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
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
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
