"""Tables that are text files, CSV and JSON lines: one file, or a folder with one file per split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.options import TagOptions
from tagformer.data.formats._common.table import Row, Table
from tagformer.errors import TagformerError


def table_splits(path: Path, suffix: str, row_splits: Callable[[Path], Iterator[str]]) -> tuple[str, ...]:
    """The split files of a folder, or the splits named in the rows of a file; () where there is neither.

    Args:
        suffix: of the split files, with the dot.
        row_splits: gives the split of each row of a file.
    """
    path = _whole(path, suffix)
    if path.is_dir():
        return tuple(file.stem for file in _split_files(path, suffix))
    present = set(row_splits(path))
    return tuple(split for split in SPLITS if split in present)


def load_table(
    path: Path,
    split: str,
    suffix: str,
    read: Callable[[Path], Iterator[Row]],
    images: str | None,
    options: TagOptions,
    advice: str = "write the names of the labels",
    text: bool = False,
) -> MultiLabelDataset:
    """Load a file, or a folder's split files, which share one label space.

    Args:
        suffix: of the split files, with the dot.
        read: gives the rows of a file.
        images: folder that the paths are relative to; None: the folder of the files.
        options, advice, text: see `Table`.

    Raises:
        TagformerError: as `read`, `Table.read` and `Table.build`.
    """
    table, path = Table(options=options, advice=advice, text=text), _whole(path, suffix)
    for file in _split_files(path, suffix):
        table.read(file, read(file), split=file.stem if path.is_dir() else "")
    folder = path if path.is_dir() else path.parent
    return table.build(str(path), folder if images is None else Path(images), split)


def _whole(path: Path, suffix: str) -> Path:
    """The file ``all`` of a folder without split files (that is how data without splits is written), or `path`."""
    whole = path / f"all{suffix}"
    return whole if whole.is_file() and not any((path / f"{split}{suffix}").is_file() for split in SPLITS) else path


def _split_files(path: Path, suffix: str) -> list[Path]:
    """The files of a table: `path` itself, or those of train, val and test that a folder has.

    Raises:
        TagformerError: a folder with none of them.
    """
    if not path.is_dir():
        return [path]
    existing = [file for split in SPLITS if (file := path / f"{split}{suffix}").is_file()]
    if not existing:
        expected = ", ".join(f"{split}{suffix}" for split in SPLITS)
        raise TagformerError(f"{path} has none of {expected}: name the file itself.")
    return existing
