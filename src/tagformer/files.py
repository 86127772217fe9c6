"""Writing files so that nothing already written is lost, to a temporary name first; reading and finding them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagformer.errors import TagformerError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it takes the place of `path`.

    Raises:
        TagformerError: the folder cannot be created or written, or `path` is no file that could be replaced.
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
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_output_file(path: Path | None) -> None:
    """Say before any work is done that a file cannot be written at `path`; None: nothing will be.

    Raises:
        TagformerError: `path` is a folder, a device, or anything else that exists and is no file.
    """
    if path is not None and path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no ordinary file"
        raise TagformerError(f"{path} is {kind}: name a file to write.")


def check_output_folder(path: Path) -> None:
    """Say before any work is done that a folder cannot be written at `path`.

    Raises:
        TagformerError: `path` exists and is no folder.
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
        TagformerError: no such file, not UTF-8, not JSON, or a number or a nesting beyond Python's limits; the message
            names the file and, for what is not JSON, the line.
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
    """The first of the paths below a folder that is there.

    Args:
        names: paths from the folder.
        layout: what a user may look up, for the message: "NUS-WIDE".

    Raises:
        TagformerError: none of them is.
    """
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None:
        said = f"neither {' nor '.join(names)}" if len(names) > 1 else f"no {names[0]}"
        raise TagformerError(f"{folder} has {said}: see the layout of {layout}.")
    return found
