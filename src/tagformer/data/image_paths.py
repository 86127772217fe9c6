"""Image paths that other machines wrote: found where only the notation differs, explained where it does not.

A path that names no file is tried with backslashes as separators, in another case, and with an extension where it has
none. With the option ``images`` it is also tried below that folder without its first folders, if they are the same for
all images: ``C:\\\\Users\\\\me\\\\photos\\\\a.jpg`` or ``https://example.org/photos/a.jpg`` with ``?images=photos``.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tagformer.data.columns import Files, Strings
from tagformer.data.dataset import MultiLabelDataset
from tagformer.images.file_types import EXTENSIONS

LEAST = 5  # images from which all of them missing says something about the paths
FEW = 20  # where fewer than one of so many images exist, the paths are wrong rather than some files missing
TRIED = 20  # paths by which a folder is judged
FOLDERS = 200  # folders that are searched for images
URL, DRIVE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/"), re.compile(r"[A-Za-z]:[\\/]")


def missing_files(dataset: MultiLabelDataset) -> list[int]:
    """The rows whose image is a file that does not exist."""
    # unlike Path.is_file, os.path.isfile accepts any text
    return [row for row, image in enumerate(dataset.images) if isinstance(image, Path) and not os.path.isfile(image)]


def find_files(
    dataset: MultiLabelDataset, missing: Sequence[int], images: Path | None
) -> tuple[MultiLabelDataset, list[int]]:
    """The data set with the paths that name a file in another notation corrected, and the rows that are still missing.

    Args:
        dataset: ids stay as they are.
        missing: of `missing_files`.
        images: the folder that the option ``images`` names; None where it is not used.
    """
    if not missing or not isinstance(dataset.images, Files):
        return dataset, list(missing)
    files, folders = dataset.images, _Folders()
    prefix: tuple[str, ...] = ()
    if images is not None:
        prefix = _common_prefix([_parts(files.name(row)) for row in _some(missing)], images, folders)
    located: dict[int, str] = {}
    for row in missing:
        parts = _parts(files.name(row))
        file = folders.find(files.folder, parts)
        if file is None and prefix and images is not None and parts[: len(prefix)] == prefix:
            file = folders.find(images, parts[len(prefix) :])
        if file is not None:
            located[row] = str(file)
    if not located:
        return dataset, list(missing)
    names = Strings(located.get(row) or files.name(row) for row in range(len(files)))
    count = "1 image was" if len(located) == 1 else f"{len(located)} images were"
    first = next(iter(located))
    warning = (
        f"{dataset.name}: {count} found under another name than written, the first is {files.name(first)} as "
        f"{located[first]}."
    )
    changed = dataset.replace(images=Files(files.folder, names), warnings=(*dataset.warnings, warning))
    return changed, [row for row in missing if row not in located]


def almost_all_missing(dataset: MultiLabelDataset, missing: Sequence[int]) -> bool:
    """Whether none or almost none of at least five images exists."""
    return bool(missing) and len(dataset) >= LEAST and FEW * (len(dataset) - len(missing)) < len(dataset)


def diagnosis(dataset: MultiLabelDataset, missing: Sequence[int], images: Path | None, has_option: bool) -> str:
    """One sentence on why none or almost none of the images exists, with the cure.

    Args:
        dataset: the data set.
        missing: the rows whose files are still missing.
        images: the folder that the option ``images`` names; None where it is not used.
        has_option: whether the format has this option.
    """
    exist = len(dataset) - len(missing)
    share = f"none of the {len(dataset)} image files exists"
    if exist:
        share = f"only {exist} of the {len(dataset)} image files {'exists' if exist == 1 else 'exist'}"
    first = dataset.images[missing[0]]
    name, folder = str(first), Path()
    if isinstance(dataset.images, Files):
        name, folder = dataset.images.name(missing[0]), dataset.images.folder
    where = dataset.origins[missing[0]] if dataset.origins else dataset.name
    sentence = f"{where}: {share}: '{name}' {_cause(name) or f'is not below {folder}'}"
    if not has_option:
        return f"{sentence}: fix the paths."
    place = _search(dataset, missing, images)
    if place is not None:
        return f"{sentence}; such images are in {place}: add ?images={place} to the address."
    cure = "name the folder of the images with ?images=FOLDER"
    if images is not None:
        cure = f"{images} (?images=) has no such images either: name another folder"
    return f"{sentence}: {cure}, or fix the paths."


def _cause(name: str) -> str | None:
    if URL.match(name) and not DRIVE.match(name):
        return "is a URL, and images are not downloaded"
    if DRIVE.match(name):
        return "is a path of a Windows machine"
    if name.startswith("/"):
        return "is an absolute path, perhaps of another machine"
    return None


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the file in a path of any machine, or in a URL."""
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _some(rows: Sequence[int]) -> list[int]:
    """A few rows at equal distances."""
    count = min(TRIED, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]


def _common_prefix(paths: Sequence[tuple[str, ...]], folder: Path, folders: _Folders) -> tuple[str, ...]:
    """The first folders that most of the paths have and that must go so that `folder` has the rest; () for none."""
    prefixes: Counter[tuple[str, ...]] = Counter()
    for parts in paths:
        length = next((n for n in range(1, len(parts)) if folders.find(folder, parts[n:]) is not None), None)
        if length is not None:
            prefixes[parts[:length]] += 1
    if not prefixes:
        return ()
    prefix, _ = min(prefixes.items(), key=lambda item: (-item[1], len(item[0])))
    return prefix


def _search(dataset: MultiLabelDataset, missing: Sequence[int], tried: Path | None) -> Path | None:
    """A folder with the images, near the data set or the current folder; None where none is found."""
    if not isinstance(dataset.images, Files):
        return None
    paths = [_parts(dataset.images.name(row)) for row in _some(missing)]
    places = [place for place in _places(dataset.images.folder) if tried is None or place.resolve() != tried.resolve()]
    for folders in (_Folders(exact=True), _Folders()):
        for place in places:
            direct = sum(folders.find(place, parts) is not None for parts in paths)
            prefix = _common_prefix(paths, place, folders)
            rest = [parts[len(prefix) :] for parts in paths if prefix and parts[: len(prefix)] == prefix]
            moved = sum(folders.find(place, parts) is not None for parts in rest)
            if 2 * max(direct, moved) > len(paths):
                return place
    return None


def _places(folder: Path) -> list[Path]:
    """The folders where images are looked for: a data set's folder, those in it, and the one above it."""
    places = [folder]
    for place in places:
        if len(places) >= FOLDERS or len(place.parts) > len(folder.parts) + 2:
            break
        try:
            with os.scandir(place) as entries:
                inside = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        except OSError:
            continue
        places += [place / name for name in inside[: FOLDERS - len(places)]]
    above = folder.resolve().parent
    return [*places, Path(os.path.relpath(above)) if not folder.is_absolute() else above]


class _Folders:
    """Finds files by names in another case or without an extension; a folder is listed only once.

    Args:
        exact: find files by their exact names only.
    """

    def __init__(self, exact: bool = False) -> None:
        self._exact = exact
        self._listed: dict[Path, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}

    def find(self, folder: Path, parts: Sequence[str]) -> Path | None:
        """The file that a path from `folder` means; None where there is none, or where several could be meant."""
        if not parts:
            return None
        for part in parts[:-1]:
            inside = folder / part
            if not os.path.isdir(inside):
                same = self._names(folder)[0].get(part.lower(), [])
                if len(same) != 1:
                    return None
                inside = folder / same[0]
            folder = inside
        if os.path.isfile(folder / parts[-1]):
            return folder / parts[-1]
        names, stems = self._names(folder)
        same = names.get(parts[-1].lower(), [])
        if os.path.splitext(parts[-1])[1].lower() not in EXTENSIONS:
            same = same or stems.get(parts[-1].lower(), [])
        file = folder / same[0] if len(same) == 1 else None
        return file if file is not None and os.path.isfile(file) else None

    def _names(self, folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Name in lower case -> names, of all entries of a folder; and the same for images without their extension."""
        if self._exact:
            return {}, {}
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            stems: dict[str, list[str]] = {}
            try:
                entries = os.listdir(folder)
            except (OSError, ValueError):
                entries = []
            for name in sorted(entries):
                names.setdefault(name.lower(), []).append(name)
                stem, extension = os.path.splitext(name)
                if extension.lower() in EXTENSIONS:
                    stems.setdefault(stem.lower(), []).append(name)
            self._listed[folder] = names, stems
        return self._listed[folder]
