"""The state of a conversion, in the folder ``.conversion`` of its target: what was asked for, and the parts so far.

A part is there if its note is, which is written after it. So a conversion may be stopped at any moment, and goes on
with the part that it was at.
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
from tagformer.data.formats._common.table import SIDECAR
from tagformer.data.formats.coco import WHOLE
from tagformer.errors import TagformerError
from tagformer.files import read_json, write_json

FOLDER = ".conversion"


@dataclass(frozen=True)
class Note:
    """What is known of a part.

    Attributes:
        file: the part; it is elsewhere once all are there.
        stop: the row behind its last.
        images: how many are in it.
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
        """Go on with this command, or begin it.

        Args:
            command: what makes a difference to the files that come out.
            overwrite: what another command wrote is removed, as is what this one wrote when it was finished.

        Raises:
            TagformerError: something else is in the folder, or what another command wrote.
        """
        if self.target.exists() and not self.target.is_dir():
            raise TagformerError(f"{self.target} is a file: name a folder to write to.")
        if not self._command.is_file():
            others = [path.name for path in self.target.iterdir()] if self.target.is_dir() else []
            if any(name != FOLDER for name in others):
                raise TagformerError(f"{self.target} holds other files, as {sorted(others)[0]}: name an empty folder.")
        else:
            before = read_json(self._command)
            if not isinstance(before, dict):
                raise TagformerError(f"{self._command} is damaged: name another folder, or empty this one.")
            same = before == command
            if not same and not overwrite:
                raise TagformerError(
                    f"{self.target} holds {'a' if self.finished else 'the beginning of a'} conversion with "
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
        return self._result.is_file()

    @property
    def result(self) -> Any:
        """What `finish` was given."""
        return read_json(self._result)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Note that everything is in its place, and remove the parts."""
        write_json(self._result, result)
        self.tidy()

    def tidy(self) -> None:
        """Remove what only an unfinished conversion needs."""
        shutil.rmtree(self._parts, ignore_errors=True)
        for path in self.folder.iterdir():
            if path not in (self._command, self._result):
                path.unlink()

    def part(self, split: str, number: int) -> Path:
        """Where a part is to lie."""
        return self._parts / f"{split}-{number:06d}"

    def temporary(self, name: str) -> Path:
        """Where to write what shall be seen whole or not at all; of no use after a stop."""
        return self._parts / f"unfinished-{name}"

    def notes(self, split: str) -> list[Note]:
        """The parts of a split that are there."""
        found: list[Note] = []
        while (file := self.part(split, len(found)).with_suffix(".json")).is_file():
            said = read_json(file)
            found.append(Note(file.with_suffix(""), said["stop"], said["images"], tuple(said["left_out"])))
        return found

    def add(self, note: Note) -> None:
        """Note that a part is there."""
        content = {"stop": note.stop, "images": note.images, "left_out": note.left_out}
        write_json(note.file.with_suffix(".json"), content)

    @contextmanager
    def staged(self, path: Path) -> Iterator[Path]:
        """Yield a temporary path; when the block ends well, the file goes to `path`."""
        temporary = self.temporary(path.name)
        yield temporary
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, path)

    def _clear(self, command: Mapping[str, Any]) -> None:
        """Remove what a conversion wrote; the parts first, so that it can no longer go on."""
        self._result.unlink(missing_ok=True)
        shutil.rmtree(self._parts, ignore_errors=True)
        splits = (*SPLITS, "all")
        names = [SIDECAR, WHOLE, *(f"annotations/instances_{split}.json" for split in splits)]
        names += [f"{split}{suffix}" for split in splits for suffix in (".csv", ".jsonl", ".parquet")]
        files = [self.target / name for name in names]
        for split in splits:
            files += self.target.glob(f"{split}-?????-of-?????.parquet")
            files += self.target.glob(f"{split}-??????.tar")
        for file in files:
            file.unlink(missing_ok=True)
        for name in ("images", *splits):
            if name in command.get("image_folders", ()):
                shutil.rmtree(self.target / name, ignore_errors=True)


WORDS = ("source", "format", "split", "size", "quality", "part_bytes")


def _differing(before: Mapping[str, Any], command: Mapping[str, Any]) -> str:
    """What differs between two commands, in words."""
    named = [word for word in WORDS if before.get(word) != command[word]]
    if named:
        return ", ".join(f"{word} {before.get(word) or 'none'}" for word in named)
    return "the same options, of data or by a version of this program that have changed since"
