"""Tables that are text files, CSV and JSON lines: one file, or a folder with one file per split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.options import TagOptions
from tagformer.data.formats._common.sidecar import SIDECAR
from tagformer.data.formats._common.split_files import SplitFile, find_split_files, list_folder, listed, unused_files
from tagformer.data.formats._common.table import Row, Table
from tagformer.data.splits import split_of_name
from tagformer.errors import TagformerError


def table_splits(path: Path, suffix: str, row_splits: Callable[[Path], Iterator[str]]) -> tuple[str, ...]:
    """The split files of a folder, or the splits named in the rows of a file; () where there is neither.

    Args:
        suffix: of the split files, with the dot.
        row_splits: gives the split of each row of a file.
    """
    files = _files(path, suffix)
    present = {entry.split for entry in files if entry.split}
    if not present:
        present = {split_of_name(name) or name for name in set(row_splits(files[0].file))}
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
    files = _files(path, suffix)
    root = path if path.is_dir() else path.parent
    beside = root / SIDECAR
    table = Table(sidecar=beside if beside.is_file() else None, options=options, advice=advice, text=text)
    folder = root if images is None else Path(images)
    for entry in files:
        rows = read(entry.file)
        if entry.folder:
            rows = rows_in_folder(rows, entry, folder)
        table.read(entry.file, rows, split=entry.split)
    dataset = table.build(str(path), folder, split)
    warnings = unused_files(root, suffix, [entry.file for entry in files]) if path.is_dir() else _beside(path, suffix)
    return dataset.replace(warnings=(*dataset.warnings, *warnings))


def _files(path: Path, suffix: str) -> list[SplitFile]:
    """The files of a table: `path` itself, or a folder's split files, or its only file ``all`` (data without splits).

    Raises:
        TagformerError: a folder with none of them.
    """
    if not path.is_dir():
        return [SplitFile(path, "")]
    files = find_split_files(path, suffix)
    if files:
        return files
    whole = path / f"all{suffix}"
    if whole.is_file():
        return [SplitFile(whole, "")]
    expected = ", ".join(f"{split}{suffix}" for split in SPLITS)
    tables = [name for name in list_folder(path)[0] if name.lower().endswith(suffix)]
    beside = f" (it has {listed(tables)})" if tables else ""
    raise TagformerError(f"{path} has none of {expected}: name the file itself{beside}.")


def rows_in_folder(rows: Iterator[Row], entry: SplitFile, images: Path) -> Iterator[Row]:
    """The rows of a file in the folder of a split, with paths that are relative to `images`.

    The first image decides whether the file's paths are relative to its folder, or to `images` already.
    """
    prefix: str | None = None
    for row in rows:
        if prefix is None:
            already = (images / row.path).is_file() and not (images / entry.folder / row.path).is_file()
            prefix = "" if already or not (images / entry.folder).is_dir() else f"{entry.folder}/"
        yield replace(row, path=f"{prefix}{row.path}", split=row.split or entry.split)


def _beside(file: Path, suffix: str) -> tuple[str, ...]:
    """A sentence on the other splits' files beside a file that is named after a split."""
    if split_of_name(file.stem) is None:
        return ()
    others = [name for name in list_folder(file.parent)[0] if name.lower().endswith(suffix) and name != file.name]
    others = [name for name in others if split_of_name(name[: -len(suffix)])]
    if not others:
        return ()
    was = "was" if len(others) == 1 else "were"
    return (f"{listed(others)} beside {file.name} {was} not read; to use all splits, name the folder {file.parent}.",)
