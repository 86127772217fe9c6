"""Carrying out a conversion: several threads prepare images, which are written in their order, part by part."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tagformer.data.columns import Strings
from tagformer.data.conversion.progress import Note, State
from tagformer.data.formats._common.writer import Item, Writer
from tagformer.errors import BadImageError, TagformerError
from tagformer.images.encoding import Prepared, as_it_is, file_name, resized
from tagformer.images.reading import encoded_bytes
from tagformer.images.source import Stored

PART_BYTES = 1 << 27
AHEAD = 4  # images per worker that are submitted at once
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """How images are written; see `convert.convert`."""

    size: int | None = None
    quality: int = 95
    workers: int | None = None
    on_bad_image: str = "error"
    overwrite: bool = False
    part_bytes: int = PART_BYTES

    def __post_init__(self) -> None:
        for name, value, most in (
            ("size", self.size, None),
            ("quality", self.quality, 100),
            ("workers", self.workers, None),
            ("part_bytes", self.part_bytes, None),
        ):
            if value is not None and not 1 <= value <= (most or value):
                raise TagformerError(f"{name} {value}: use a number from 1{f' to {most}' if most else ' on'}.")
        if self.on_bad_image not in ("error", "skip"):
            raise TagformerError(f"on_bad_image '{self.on_bad_image}': use error or skip.")

    def raise_on_bad_images(self, problems: Sequence[str]) -> None:
        """
        Args:
            problems: one sentence for each image that cannot be read.

        Raises:
            BadImageError: there is one, and bad images are an error.
        """
        if problems and self.on_bad_image == "error":
            problem = problems[0].rstrip(".")
            raise BadImageError(f"{problem}: fix it, or leave such images out with --on-bad-image skip.")


class ConversionPass:
    """One run of a conversion, from where the last one stopped."""

    def __init__(self, writer: Writer, state: State, options: Options, progress: Progress | None) -> None:
        self._writer, self._state, self._options, self._progress = writer, state, options, progress
        self._datasets = writer.job.datasets
        self._total, self._done = sum(map(len, self._datasets.values())), 0
        self._names: dict[str, Strings] = {} if writer.stores_images else _file_names(writer)

    def run(self) -> None:
        """Write the parts that are missing, then the files of the splits."""
        notes: dict[str, list[Note]] = {}
        for split in self._datasets:
            notes[split] = self._write_parts(split)
        for split, of_split in notes.items():
            parts = [note.file for note in of_split if note.images]
            if not parts:
                raise TagformerError(f"{self._datasets[split].name}: no image of split '{split}' can be read.")
            self._writer.join(split, parts, self._state.staged)
        if self._writer.sidecar is not None:
            with self._state.staged(self._writer.job.target / self._writer.sidecar) as file:
                text = json.dumps(self._writer.sidecar_content(), indent=2, ensure_ascii=False) + "\n"
                file.write_text(text, encoding="utf-8", newline="\n")
        images = {split: sum(note.images for note in of_split) for split, of_split in notes.items()}
        bad = [problem for of_split in notes.values() for note in of_split for problem in note.left_out]
        missing = [problem for dataset in self._datasets.values() for problem in dataset.left_out]
        self._state.finish({"images": images, "missing": missing, "bad": bad})

    def _write_parts(self, split: str) -> list[Note]:
        """Write the parts of a split that are missing."""
        dataset, notes = self._datasets[split], self._state.notes(split)
        for note in notes:
            self._options.raise_on_bad_images(note.left_out)
        start = notes[-1].stop if notes else 0
        self._report(start)
        images = self._prepared(split, range(start, len(dataset)))
        try:
            while start < len(dataset):
                note = self._write_part(split, len(notes), images)
                self._state.add(note)
                notes.append(note)
                start = note.stop
        finally:
            images.close()
        return notes

    def _write_part(self, split: str, number: int, images: Iterator[tuple[int, Prepared | str]]) -> Note:
        dataset, file = self._datasets[split], self._state.part(split, number)
        count, left_out, row = 0, [], len(dataset) - 1
        part = self._writer.open(self._state.temporary("part"), split)
        try:
            for row, image in images:
                if isinstance(image, str):
                    self._options.raise_on_bad_images([image])
                    left_out.append(image)
                else:
                    record = dataset[row]
                    part.add(Item(row, self._writer.id_of(split, record.id), record, image))
                    count += 1
                self._report(1)
                if part.full:
                    break
        finally:
            part.close()
        self._state.temporary("part").replace(file)
        return Note(file, row + 1, count, tuple(left_out))

    def _report(self, images: int) -> None:
        self._done += images
        if self._progress:
            self._progress(self._done, self._total)

    def _prepared(self, split: str, rows: range) -> Generator[tuple[int, Prepared | str], None, None]:
        """Each row with its image, or with a sentence about a bad image; some images are read ahead."""
        workers = self._options.workers or os.cpu_count() or 1
        waiting: deque[tuple[int, Future[Prepared | str]]] = deque()
        pool = ThreadPoolExecutor(workers)  # images are decoded, scaled and encoded outside the interpreter's lock
        try:
            for row in rows:
                waiting.append((row, pool.submit(self._prepare, split, row, self._read_in_order(split, row))))
                if len(waiting) >= AHEAD * workers:
                    row, future = waiting.popleft()
                    yield row, future.result()
            while waiting:
                row, future = waiting.popleft()
                yield row, future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _read_in_order(self, split: str, row: int) -> bytes | str | None:
        """The bytes of a stored image, since those are read fastest in the order of the rows; or what is wrong."""
        source = self._datasets[split].images[row]
        if isinstance(source, Path) or not isinstance(source, Stored):
            return None
        try:
            return encoded_bytes(source)
        except BadImageError as error:
            return self._with_origin(split, row, error)

    def _prepare(self, split: str, row: int, data: bytes | str | None) -> Prepared | str:
        """In a thread: encode the image, and write it where the format names image files; or say what is wrong."""
        if isinstance(data, str):
            return data
        source, size = self._datasets[split].images[row], self._options.size
        try:
            if size is None:
                image = as_it_is(source, self._writer.stores_images, data)
            else:
                image = resized(source, size, self._options.quality, data)
        except BadImageError as error:
            return self._with_origin(split, row, error)
        if image.data is None or self._writer.stores_images:
            return image
        path = _image_folder(self._writer, split) / (self._names[split][row] + image.extension)
        temporary = self._state.temporary(f"{split}-{row}")
        temporary.write_bytes(image.data)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(path)
        return Prepared(image.width, image.height, image.extension, path=path)

    def _with_origin(self, split: str, row: int, error: BadImageError) -> str:
        """What is wrong with an image, after the file and line that name it."""
        origins = self._datasets[split].origins
        return f"{origins[row]}: {error}" if origins else str(error)


def _image_folder(writer: Writer, split: str) -> Path:
    return writer.job.target / writer.image_folder(split)


def _file_names(writer: Writer) -> dict[str, Strings]:
    """Split -> the path of each image below the split's folder, without its extension; no two are the same."""
    used: set[bytes] = set()
    names: dict[str, Strings] = {}
    for split, dataset in writer.job.datasets.items():
        names[split] = Strings()
        for image_id in dataset.ids:
            base = name = file_name(writer.id_of(split, image_id))
            for number in itertools.count(2):
                path = f"{_image_folder(writer, split)}/{name.casefold()}"  # some file systems ignore case
                key = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=12).digest()
                if key not in used:
                    break
                name = f"{base}-{number}"
            used.add(key)
            names[split].append(name)
    return names
