"""JSON lines: for each image an object with its path, what is said of its labels, perhaps ``split`` and ``id``.

``{"path": "a.jpg", "tags": ["dog"]}``; `annotation` says what else may stand there for labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.annotation import checked_id, parse, read_annotation
from tagformer.data.formats._common.annotation import write_annotation as write_annotation
from tagformer.data.formats._common.table import PATH_COLUMNS, Row, checked_split, load_table, splits_of
from tagformer.errors import TagformerError

TREE = (
    "FILE.jsonl, or a folder with train.jsonl, test.jsonl and perhaps val.jsonl; image paths are relative to it; "
    "perhaps labels.json beside it"
)
OPTIONS = {"images": "folder that the paths are relative to (default: the folder of the JSON lines)"}


def splits(path: Path | None, options: dict[str, str]) -> tuple[str, ...]:
    """The split files of a folder, or the values of ``split`` in a file; () where there is neither.

    Raises:
        TagformerError: as `load`.
    """
    assert path is not None
    return splits_of(path, ".jsonl", lambda file: (row.split for row in _read(file)))


def load(path: Path | None, split: str, options: dict[str, str]) -> MultiLabelDataset:
    """Load a file of JSON lines or a folder of them; see the module's text.

    Raises:
        TagformerError: a line that is no object, has no path or says something else of its labels, an image named
            twice, no images; the message names the file and the line.
    """
    assert path is not None
    return load_table(path, split, ".jsonl", _read, options.get("images"))


def _read(file: Path) -> Iterator[Row]:
    """The rows of one file."""
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield _row(line, number, file)
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error


def _row(line: bytes, number: int, file: Path) -> Row:
    origin = f"{file}, line {number}"
    said = parse(line, origin)
    path = next((said[key] for key in PATH_COLUMNS if key in said), None)
    if not isinstance(path, str) or not path:
        raise TagformerError(f'{origin}: no image path: give it as "path".')
    split = said.get("split")
    if split is not None and not isinstance(split, str):
        raise TagformerError(f"{origin}: split {split!r}: use train, val or test.")
    cells, rest, tagged = read_annotation(said, origin)
    image_id = checked_id(said.get("id"), origin)
    return Row(path, cells, rest, tagged, checked_split(split, file, origin), number, image_id)
