"""JSON lines: one object per image with its path, its labels, and perhaps ``split`` and ``id``.

``{"path": "a.jpg", "tags": ["dog"]}``; `_common.annotation` describes the other ways to write the labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.annotation import checked_id, parse, read_annotation, write_annotation
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.options import TAG_OPTIONS, TagOptions
from tagformer.data.formats._common.table import PATH_COLUMNS, Row, row_split
from tagformer.data.formats._common.text_table import load_table, table_splits
from tagformer.data.formats._common.writer import Item, Part, Staged, TextPart, Writer, append
from tagformer.errors import TagformerError
from tagformer.files import check_regular

SUFFIX = ".jsonl"


class JsonlWriter(Writer):
    """Writes SPLIT.jsonl."""

    @classmethod
    def files(cls, split: str) -> tuple[str, ...]:
        return (f"{split}{SUFFIX}",)

    def open(self, file: Path, split: str) -> Part:
        return TextPart(file, lambda item: self._line(item, split))

    def _line(self, item: Item, split: str) -> str:
        path = self.path(item.image, split)
        ids = {} if item.id == path else {"id": item.id}
        annotation = write_annotation(item.record.labels, self.job.label_space.names)
        return json.dumps({**ids, "path": path, **annotation}, ensure_ascii=False) + "\n"

    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        with staged(self.job.target / f"{split}{SUFFIX}") as file, file.open("wb") as stream:
            append(parts, stream)


class JsonlFormat(Format):
    """A file of JSON lines, or a folder with one per split; see the module's text."""

    layout = (
        "FILE.jsonl, or a folder with train.jsonl, test.jsonl and perhaps val.jsonl, or with one such file in each of "
        "train/, test/ and perhaps val/; image paths are relative to the file; "
        "perhaps labels.json beside it"
    )
    options: ClassVar[Mapping[str, str]] = {
        **TAG_OPTIONS,
        "images": "folder that the paths are relative to (default: the folder of the JSON lines)",
    }
    path_options = ("images",)
    suffixes = (SUFFIX,)
    writer = JsonlWriter

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """The split files of a folder, or the values of ``split`` in a file; () where there is neither.

        Raises:
            TagformerError: as `load`.
        """
        return table_splits(path, SUFFIX, lambda file: (row.split for row in _read(file, None)))

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: a line that is not an object, has no path or malformed labels, a duplicate image, no
                images; the message names the file and the line.
        """
        tags = TagOptions.parse(options)
        return load_table(path, split, SUFFIX, lambda file: _read(file, tags.separator), options.get("images"), tags)


def _read(file: Path, separator: str | None) -> Iterator[Row]:
    """The rows of one file."""
    try:
        check_regular(file)
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield _row(line, number, file, separator)
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error


def _row(line: bytes, number: int, file: Path, separator: str | None) -> Row:
    origin = f"{file}, line {number}"
    entry = parse(line, origin)
    path = next((entry[key] for key in PATH_COLUMNS if key in entry), None)
    if not isinstance(path, str) or not path:
        raise TagformerError(f'{origin}: no image path: give it as "path".')
    split = entry.get("split", entry.get("Split"))
    if split is not None and not isinstance(split, str):
        raise TagformerError(f"{origin}: split {split!r}: use train, val or test.")
    cells, rest, tagged = read_annotation(entry, origin, separator)
    image_id = checked_id(entry.get("id"), origin)
    return Row(path, cells, rest, tagged, row_split(split, file, origin), number, image_id)
