"""The files of a folder that hold its splits: ``train.csv`` and ``valid.csv``, or one file in each split's folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tagformer.data.dataset import SPLITS
from tagformer.data.splits import split_of_name
from tagformer.errors import TagformerError


class SplitFile(NamedTuple):
    """A file that holds one split.

    Attributes:
        file: where it is.
        split: train, val or test; "" where neither its name nor its folder names one.
        folder: the name of the split's folder that the file is in, for example ``valid``; "" where it is in none.
    """

    file: Path
    split: str
    folder: str = ""


def find_split_files(folder: Path, suffix: str, prefix: str = "") -> list[SplitFile]:
    """The files of a folder's splits, in the order train, val, test; none where there are no such files.

    Files that are named after their split (``train.csv``, ``Valid.csv``) take precedence over files in the folders of
    splits (``train/_classes.csv``), of which each folder may have only one.

    Args:
        suffix: of the files, with the dot; any case.
        prefix: what may precede the split's name in a file's name, for example ``instances_``.

    Raises:
        TagformerError: two files of one split, or a folder that cannot be read.
    """
    files, folders = list_folder(folder)
    named = [
        SplitFile(folder / name, split)
        for name in files
        if name.lower().endswith(suffix) and (split := split_of_name(name[: -len(suffix)].removeprefix(prefix)))
    ]
    if not named:
        for name in folders:
            if split := split_of_name(name):
                inside = [file for file in list_folder(folder / name)[0] if file.lower().endswith(suffix)]
                named += [SplitFile(folder / name / file, split, name) for file in inside]
    for position, entry in enumerate(named):
        for earlier in named[:position]:
            if earlier.split == entry.split:
                raise TagformerError(
                    f"{earlier.file} and {entry.file} are both of the split '{entry.split}': keep one of them in "
                    f"{folder}, or name a file itself."
                )
    return sorted(named, key=lambda entry: SPLITS.index(entry.split))


def unused_files(folder: Path, suffix: str, used: Sequence[Path]) -> tuple[str, ...]:
    """A sentence on the files of a folder with this suffix that are not among those used; nothing where there are none.

    Args:
        folder: where the files are.
        used: the files that were read.
    """
    names = {file.name for file in used if file.parent == folder}
    unused = [name for name in list_folder(folder)[0] if name.lower().endswith(suffix) and name not in names]
    if not unused:
        return ()
    count = f"1 other {suffix} file was" if len(unused) == 1 else f"{len(unused)} other {suffix} files were"
    return (f"{folder}: {count} not read: {listed(unused)}; name the file itself to read it.",)


def listed(names: Sequence[str], shown: int = 5) -> str:
    """The first names, separated by commas.

    >>> listed(["a", "b", "c"], shown=2)
    'a, b, ...'
    """
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


def list_folder(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the files and of the folders in a folder, each in alphabetical order, without hidden ones.

    Raises:
        TagformerError: it cannot be read.
    """
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(entry.name)
    except OSError as error:
        raise TagformerError(f"cannot read {folder}: {error.strerror or error}.") from error
    return sorted(files), sorted(folders)
