"""The state of a conversion, in the folder ``.conversion`` of its target: the command, and the parts written so far.

A part is complete if its note exists, which is written after it. So a conversion may be stopped at any moment, and
continues with the part that it was writing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagformer.data.dataset import SPLITS
from tagformer.data.formats._common.writer import Writer
from tagformer.data.registry import get_format
from tagformer.errors import TagformerError
from tagformer.files import read_json, write_json

FOLDER = ".conversion"


@dataclass(frozen=True)
class Note:
    """The description of a complete part.

    Attributes:
        file: the part; it is moved elsewhere once all parts are complete.
        stop: the row after its last.
        images: the number of images in it.
        left_out: one sentence for each image that could not be read.
    """

    file: Path
    stop: int
    images: int
    left_out: tuple[str, ...]


class State:
    """The state of the conversion into a folder."""

    def __init__(self, target: Path) -> None:
        self.target, self.folder = target, target / FOLDER
        self._parts = self.folder / "parts"
        self._command, self._result = self.folder / "command.json", self.folder / "finished.json"

    def begin(self, command: Mapping[str, Any], overwrite: bool = False) -> None:
        """Begin a command, or continue the same one.

        Args:
            command: everything that changes the files that are written.
            overwrite: remove what another command wrote, and what this one wrote if it was finished.

        Raises:
            TagformerError: the folder contains other files, or what another command wrote.
        """
        if self.target.exists() and not self.target.is_dir():
            raise TagformerError(f"{self.target} is a file: name a folder to write to.")
        if not self._command.is_file():
            others = [path.name for path in self.target.iterdir()] if self.target.is_dir() else []
            if any(name != FOLDER for name in others):
                raise TagformerError(
                    f"{self.target} contains other files, such as {sorted(others)[0]}: name an empty folder."
                )
        else:
            before = read_json(self._command)
            if not isinstance(before, dict):
                raise self._damaged()
            same = before == command
            if not same and not overwrite:
                raise TagformerError(
                    f"{self.target} contains {'a' if self.finished else 'an unfinished'} conversion with "
                    f"{_differing(before, command)}: name another folder, or replace it with --overwrite."
                )
            if not same or (overwrite and self.finished):
                self._clear(before)
            if same and self.finished and not overwrite:
                return
        self._parts.mkdir(parents=True, exist_ok=True)
        write_json(self._command, command)

    @property
    def finished(self) -> bool:
        """Whether everything is written."""
        return self._result.is_file()

    @property
    def result(self) -> Any:
        """The argument of `finish`."""
        return read_json(self._result)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Note that all files are in place, and remove the parts."""
        write_json(self._result, result)
        self.tidy()

    def tidy(self) -> None:
        """Remove what only an unfinished conversion needs."""
        shutil.rmtree(self._parts, ignore_errors=True)
        for path in self.folder.iterdir():
            if path not in (self._command, self._result):
                path.unlink()

    def part(self, split: str, number: int) -> Path:
        """The file of a part."""
        return self._parts / f"{split}-{number:06d}"

    def temporary(self, name: str) -> Path:
        """Where to write a file that must appear complete or not at all; an interrupted command leaves it unused."""
        return self._parts / f"unfinished-{name}"

    def notes(self, split: str) -> list[Note]:
        """The complete parts of a split."""
        notes: list[Note] = []
        while (file := self.part(split, len(notes)).with_suffix(".json")).is_file():
            content = read_json(file)
            left_out = tuple(content["left_out"])
            notes.append(Note(file.with_suffix(""), content["stop"], content["images"], left_out))
        return notes

    def add(self, note: Note) -> None:
        """Note that a part is complete."""
        content = {"stop": note.stop, "images": note.images, "left_out": note.left_out}
        write_json(note.file.with_suffix(".json"), content)

    @contextmanager
    def staged(self, path: Path) -> Iterator[Path]:
        """Yield a temporary path; when the block ends without an error, the file replaces `path`."""
        temporary = self.temporary(path.name)
        yield temporary
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, path)

    def _clear(self, command: Mapping[str, Any]) -> None:
        """Remove what a conversion wrote; the parts first, so that it cannot be continued any more."""
        writer = self._writer(command)
        self._result.unlink(missing_ok=True)
        shutil.rmtree(self._parts, ignore_errors=True)
        for split in (*SPLITS, "all"):
            for pattern in writer.files(split):
                for file in self.target.glob(pattern):
                    file.unlink()
            folder = writer.image_folder(split)
            if folder in command.get("image_folders", ()):
                shutil.rmtree(self.target / folder, ignore_errors=True)
        if writer.sidecar is not None:
            (self.target / writer.sidecar).unlink(missing_ok=True)

    def _writer(self, command: Mapping[str, Any]) -> type[Writer]:
        writer = get_format(str(command.get("format"))).writer
        if writer is None:
            raise self._damaged()
        return writer

    def _damaged(self) -> TagformerError:
        return TagformerError(f"{self._command} is damaged: name another folder, or empty this one.")


WORDS = ("source", "format", "split", "size", "quality", "part_bytes")


def _differing(before: Mapping[str, Any], command: Mapping[str, Any]) -> str:
    """The differences between two commands, in words."""
    words = [word for word in WORDS if before.get(word) != command[word]]
    if words:
        return ", ".join(f"{word} {before.get(word) or 'none'}" for word in words)
    return "the same options, but other data or another version of Tagformer"
