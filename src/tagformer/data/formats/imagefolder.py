"""A folder of images for each label, as ImageNet has it: an image has the label of its folder and no other.

Labels are the folders' names in alphabetical order, over all splits; an id is the path below the root. Images may also
be in folders below the label's. Hidden files, and files without an image's extension, are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tagformer.data.columns import Files, Strings
from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.sparse_rows import RowsBuilder
from tagformer.errors import TagformerError
from tagformer.images.reading import EXTENSIONS
from tagformer.labels.space import ABSENT, PRESENT, LabelSpace


class ImageFolderFormat(Format):
    """A tree of folders; see the module's text."""

    layout = "{train,val,test}/LABEL/*.jpg, or LABEL/*.jpg without splits; also in folders below LABEL"
    folders_are_labels = True

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """The folders train, val and test where there are no others; () where the folders are labels.

        Raises:
            TagformerError: no folders, images beside them, or folders of splits beside others.
        """
        folders = self._folders(path)
        splits = tuple(split for split in SPLITS if split in folders)
        others = [folder for folder in folders if folder not in SPLITS]
        if not others:
            return splits
        with_folders = [split for split in splits if _scan(path / split)[0]]
        if with_folders:
            raise TagformerError(
                f"{path} has the split '{with_folders[0]}' beside the folder '{others[0]}': keep labels inside the "
                "splits, and other folders elsewhere."
            )
        return ()

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: a label without images, images beside the labels' folders, no folders, or a link to a
                folder above it.
        """
        splits = self.splits(path, options)
        trees = {name: self._folders(path / name) for name in splits} if splits else {"": self._folders(path)}
        labels = sorted({label for folders in trees.values() for label in folders})
        columns = {label: column for column, label in enumerate(labels)}
        counts = dict.fromkeys(columns, 0)
        names, rows = Strings(), RowsBuilder()
        for name, folders in trees.items():
            for label in folders:
                for file in _images(path, f"{name}/{label}" if name else label):
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

    def _folders(self, folder: Path) -> list[str]:
        """The folders in a folder that has no images beside them."""
        folders, images = _scan(folder)
        if images:
            raise TagformerError(
                f"{folder} has images of its own, as {images[0]}: put each into the folder of its label (expected: "
                f"{self.layout})."
            )
        if not folders:
            raise TagformerError(f"{folder} has no folders of images: expected {self.layout}.")
        return folders


def _images(root: Path, below: str, above: frozenset[Path] = frozenset()) -> Iterator[str]:
    """The images in a folder of `root` and in all folders below it, as paths from `root`, in alphabetical order.

    Args:
        above: the folders that contain this one, with links resolved.

    Raises:
        TagformerError: a folder cannot be read, or links to a folder that contains it.
    """
    folder = Path(os.path.realpath(root / below))
    if folder in above:
        raise TagformerError(f"{root / below} is a link to a folder that contains it: remove the link.")
    folders, images = _scan(root / below)
    for image in images:
        yield f"{below}/{image}"
    for name in folders:
        yield from _images(root, f"{below}/{name}", above | {folder})


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
