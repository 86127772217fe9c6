"""Where a COCO data set has the file and the images of each split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tagformer.data.dataset import SPLITS
from tagformer.data.formats._common.split_files import find_split_files, list_folder, listed
from tagformer.data.formats.coco.json_file import STEMS
from tagformer.data.formats.coco.writer import UNSPLIT
from tagformer.errors import TagformerError

PREFIX = "instances_"


class CocoFile(NamedTuple):
    """The instances file of a split.

    Attributes:
        file: where it is.
        folders: where its images may be, the most likely folder first.
    """

    file: Path
    folders: tuple[Path, ...]


def find_files(root: Path, years: Sequence[str], official_only: bool) -> dict[str, CocoFile]:
    """Split -> its file, in the order train, val, test; "all" for the only file of a folder without splits.

    The first of these layouts that has files is taken: COCO's own ``annotations/instances_train2017.json`` (of the
    year that has most files); ``annotations/instances_train.json`` or ``annotations/train.json``; ``train.json``; one
    file in each split's folder, ``train/_annotations.coco.json``; what Tagformer wrote without splits.

    Args:
        years: of COCO's own files.
        official_only: accept COCO's own files only.

    Raises:
        TagformerError: none of the files exists, or two are of one split.
    """
    folder = root / "annotations"
    official: list[dict[str, CocoFile]] = []
    for year in years:
        files = {split: folder / f"{PREFIX}{stem}{year}.json" for split, stem in STEMS.items()}
        official.append({split: _beside(root, file) for split, file in files.items() if file.is_file()})
    best = max(official, key=len)
    if not best and not official_only and root.is_dir():
        best = _other_files(root, folder)
    if not best:
        raise TagformerError(_none_found(root, folder, years[0], official_only))
    return {split: best[split] for split in (*SPLITS, "all") if split in best}


def file_alone(file: Path) -> CocoFile:
    """A file that was named itself, and where its images may be."""
    return CocoFile(
        file, (file.parent, *_beside(file.parent, file).folders, *_beside(file.parent.parent, file).folders)
    )


def image_folder(entry: CocoFile, names: Sequence[str]) -> Path:
    """The first of the folders that has one of the images, or the most likely one where none has."""
    for folder in entry.folders:
        if any((folder / name).is_file() for name in names):
            return folder
    return entry.folders[0]


def _other_files(root: Path, folder: Path) -> dict[str, CocoFile]:
    """Split -> its file, in layouts other than COCO's own."""
    if folder.is_dir():
        found = [entry for entry in find_split_files(folder, ".json", PREFIX) if not entry.folder]
        if found:
            return {entry.split: _beside(root, entry.file) for entry in found}
    files = {}
    for entry in find_split_files(root, ".json", PREFIX):
        inside = entry.file.parent
        files[entry.split] = (
            CocoFile(entry.file, (inside, inside / "images", root)) if entry.folder else _beside(root, entry.file)
        )
    if not files and (root / UNSPLIT).is_file():
        files["all"] = CocoFile(root / UNSPLIT, (root,))
    return files


def _beside(root: Path, file: Path) -> CocoFile:
    """A file whose images are in a folder of its name: ``instances_train2017.json``, ``train2017/``."""
    stem = file.stem.removeprefix(PREFIX)
    return CocoFile(file, (root / stem, root / "images" / stem, root / "images", root))


def _none_found(root: Path, folder: Path, year: str, official_only: bool) -> str:
    if official_only:
        expected = f"or instances_val{year}.json"
    else:
        expected = "(or val, or 2014), train.json or train/_annotations.coco.json"
    files = [root / name for name in (list_folder(root)[0] if root.is_dir() else ()) if name.endswith(".json")]
    files += [folder / name for name in (list_folder(folder)[0] if folder.is_dir() else ()) if name.endswith(".json")]
    named = (
        f"; name a file itself, as coco:{files[0]} (it has {listed([file.name for file in files])})" if files else ""
    )
    return f"{root} has no annotations/{PREFIX}train{year}.json {expected}: see the COCO layout{named}."
