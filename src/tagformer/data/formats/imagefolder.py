"""A folder of images for each label, as ImageNet has it: an image has the label of its folder and no other.

Labels are the folders' names in alphabetical order, over all splits; an id is the path below the root. Images may lie
in folders of their own below the label's. Hidden files, and files without an image's extension, are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tagformer.data.columns import Files, RowsBuilder, Strings
from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.images.reading import EXTENSIONS
from tagformer.labels.space import ABSENT, PRESENT, LabelSpace

TREE = "{train,val,test}/LABEL/*.jpg, or LABEL/*.jpg without splits; also in folders below LABEL"
OPTIONS: dict[str, str] = {}


def splits(path: Path | None, options: dict[str, str]) -> tuple[str, ...]:
    """The folders train, val and test where there are no others; () where the folders are labels.

    Raises:
        TagformerError: no folders, images beside them, or folders of splits beside others.
    """
    assert path is not None
    folders = _folders(path)
    found = tuple(split for split in SPLITS if split in folders)
    others = [folder for folder in folders if folder not in SPLITS]
    if not others:
        return found
    divided = [split for split in found if _scan(path / split)[0]]
    if divided:
        raise TagformerError(
            f"{path} has the split '{divided[0]}' beside the folder '{others[0]}': keep labels within the splits, and "
            "other folders elsewhere."
        )
    return ()


def load(path: Path | None, split: str, options: dict[str, str]) -> MultiLabelDataset:
    """Load a tree of folders; see the module's text.

    Raises:
        TagformerError: a label without images, images that lie beside the labels' folders, no folders, or a link to a
            folder above it.
    """
    assert path is not None
    own = splits(path, options)
    trees = {name: _folders(path / name) for name in own} if own else {"": _folders(path)}
    columns = {label: i for i, label in enumerate(sorted({label for own in trees.values() for label in own}))}
    counts = dict.fromkeys(columns, 0)
    names, rows = Strings(), RowsBuilder()
    for name, folders in trees.items():
        for label in folders:
            below = f"{name}/{label}" if name else label
            for file in _images(path, below):
                counts[label] += 1
                if split in (name, "all"):
                    names.append(file)
                    rows.add({columns[label]: PRESENT}, ABSENT)
    for label, count in counts.items():
        if not count:
            raise TagformerError(f"{path}: folder '{label}' has no images: remove it, or put its images there.")
    return MultiLabelDataset(
        name=str(path),
        label_space=LabelSpace(tuple(columns)),
        images=Files(path, names),
        labels=rows.build(len(columns)),
        ids=names,
        exhaustive=True,
    )


def _folders(folder: Path) -> list[str]:
    """The folders in a folder that has nothing else that counts."""
    folders, images = _scan(folder)
    if images:
        raise TagformerError(
            f"{folder} has images of its own, as {images[0]}: put each into the folder of its label (expected: {TREE})."
        )
    if not folders:
        raise TagformerError(f"{folder} has no folders of images: expected {TREE}.")
    return folders


def _images(root: Path, below: str, above: frozenset[Path] = frozenset()) -> Iterator[str]:
    """The images in a folder of `root` and in all folders below it, as paths from `root`, in alphabetical order.

    Args:
        above: the folders that this one lies in, without links.

    Raises:
        TagformerError: a folder cannot be read, or is a link to one of those above it.
    """
    own = Path(os.path.realpath(root / below))
    if own in above:
        raise TagformerError(f"{root / below} lies in a folder that it links to: remove the link.")
    folders, images = _scan(root / below)
    for image in images:
        yield f"{below}/{image}"
    for folder in folders:
        yield from _images(root, f"{below}/{folder}", above | {own})


def _scan(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the folders and of the images in a folder, each in alphabetical order."""
    folders, images = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if os.path.splitext(entry.name)[1].lower() in EXTENSIONS and not entry.is_dir():
                    images.append(entry.name)
                elif entry.is_dir():
                    folders.append(entry.name)
    except OSError as error:
        raise TagformerError(f"cannot read {folder}: {error.strerror or error}.") from error
    return sorted(folders), sorted(images)
