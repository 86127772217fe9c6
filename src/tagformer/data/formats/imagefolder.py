"""A folder of images for each label, as ImageNet has it: an image has the label of its folder and no other.

Labels are the folders' names in alphabetical order, over all splits; an id is the path below the root. Images may also
be in folders below the label's. Hidden files, and files without an image's extension, are passed over and counted.

Where folders of several labels have a file of the same name with the same content, it is one image with all these
labels: this is how tools that know only folders store several labels.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tagformer.data.columns import Files, Strings
from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.image_files import PassedOver, copies_by_name, scan_folder, walk_images
from tagformer.data.sparse_rows import SparseRows
from tagformer.data.splits import split_of_name
from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT, LabelSpace


class ImageFolderFormat(Format):
    """A tree of folders; see the module's text."""

    layout = "{train,val,test}/LABEL/*.jpg, or LABEL/*.jpg without splits; also in folders below LABEL"
    folders_are_labels = True

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """The splits of which there are folders, if there are no others; () where the folders are labels.

        Raises:
            TagformerError: no folders, images beside them, folders of splits beside others, or two of one split.
        """
        return tuple(self._split_folders(path, PassedOver()))

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: a label without images, images beside the labels' folders, no folders, or a link to a
                folder above it.
        """
        passed_over = PassedOver()
        splits = self._split_folders(path, passed_over)
        trees = {"": self._folders(path, PassedOver())}
        if splits:
            trees = {folder: self._folders(path / folder, passed_over) for folder in splits.values()}
        selected = [splits[name] for name in splits if split in (name, "all")] if splits else [""]
        labels = sorted({label for folders in trees.values() for label in folders})
        columns = {label: column for column, label in enumerate(labels)}
        counts = dict.fromkeys(columns, 0)
        files, columns_of = Strings(), array("i")
        for tree, folders in trees.items():
            for label in folders:
                for file in walk_images(path, f"{tree}/{label}" if tree else label, passed_over):
                    counts[label] += 1
                    if tree in selected:
                        files.append(file)
                        columns_of.append(columns[label])
        for label, count in counts.items():
            if not count:
                raise TagformerError(f"{path}: folder '{label}' has no images: remove it, or put its images there.")
        names, present = _merged(path, files, columns_of, bool(splits))
        warnings = []
        if merged := len(files) - len(names):
            warnings.append(
                f"{path}: {merged} {'file is a copy' if merged == 1 else 'files are copies'} of a file of the same "
                "name in another label's folder: each such image is read once, with all its labels."
            )
        if passed_over:
            warnings.append(f"{path}: passed over: {passed_over}.")
        return MultiLabelDataset(
            name=str(path),
            label_space=LabelSpace(tuple(columns)),
            images=Files(path, names),
            labels=SparseRows.of(((dict.fromkeys(row, PRESENT), ABSENT) for row in present), len(columns)),
            ids=names,
            exhaustive=True,
            warnings=tuple(warnings),
        )

    def _split_folders(self, path: Path, passed_over: PassedOver) -> dict[str, str]:
        """Split -> its folder, in the order train, val, test; none where the folders are labels."""
        folders = self._folders(path, passed_over)
        splits: dict[str, str] = {}
        for folder in folders:
            split = split_of_name(folder)
            if split and splits.setdefault(split, folder) != folder:
                raise TagformerError(
                    f"{path} has the folders '{splits[split]}' and '{folder}', which are both the split '{split}': "
                    "keep one of them there."
                )
        others = [folder for folder in folders if not split_of_name(folder)]
        if not others:
            return {split: splits[split] for split in SPLITS if split in splits}
        for folder in splits.values():
            if scan_folder(path / folder, PassedOver())[0]:
                raise TagformerError(
                    f"{path} has the split '{folder}' beside the folder '{others[0]}': keep labels inside the "
                    "splits, and other folders elsewhere."
                )
        return {}

    def _folders(self, folder: Path, passed_over: PassedOver) -> list[str]:
        """The folders in a folder that has no images beside them."""
        folders, images = scan_folder(folder, passed_over)
        if images:
            raise TagformerError(
                f"{folder} has images of its own, as {images[0]}: put each into the folder of its label (expected: "
                f"{self.layout})."
            )
        if not folders:
            raise TagformerError(f"{folder} has no folders of images: expected {self.layout}.")
        return folders


def _merged(
    root: Path, files: Strings, columns: Sequence[int], in_splits: bool
) -> tuple[Strings, Iterable[Sequence[int]]]:
    """The files without their copies in other labels' folders of the same split, and the columns of each one's labels.

    Args:
        files: paths from `root`.
        columns: the column of the label of each file.
        in_splits: whether the first folder of each path is its split.
    """
    by_file: dict[int, list[int]] = {}  # position of a file that has copies -> the columns of its labels
    dropped = set()
    for copy, original in copies_by_name(root, files).items():
        present = by_file.setdefault(original, [columns[original]])
        same_split = not in_splits or files[copy].split("/")[0] == files[original].split("/")[0]
        if columns[copy] not in present and same_split:
            present.append(columns[copy])
            dropped.add(copy)
    if not dropped:
        return files, ([column] for column in columns)
    kept = [position for position in range(len(files)) if position not in dropped]
    return files.take(kept), [by_file.get(position, [columns[position]]) for position in kept]
