"""VG-500 and NEWS-500: two lists of images, and a JSON with the numbers of each image's labels.

VG-500 is Visual Genome's 500 most frequent categories, with the lists and the index that SSGRL (Chen et al., ICCV
2019) published and C-Tran (Lanchantin et al., CVPR 2021) uses: 82,904 training and 10,000 test images. The index is an
object, image name -> list of label numbers from 0 to 499; labels that an image's list does not name are absent. Visual
Genome's images come in two archives, VG_100K and VG_100K_2; they may stay in two folders or be moved into one.

NEWS-500 may have the same layout, with an index of its own name and the images in one folder; see `news`.

The layout has no file with the names of the 500 labels; without one, the labels are named by their numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tagformer.data.columns import Files, Origins, Strings
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.lists import join_lists, read_label_space, read_names
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError
from tagformer.files import read_json
from tagformer.labels.space import ABSENT, PRESENT, LabelSpace

LABELS = 500
LISTS = {"train": "train_list_500.txt", "test": "test_list_500.txt"}


class ImageListFormat(Format):
    """Lists of images with an index of label numbers; see the module's text.

    Args:
        prefix: the start of the labels' default names, before their numbers.
        index: name of the JSON file.
        folders: where an image may be; the first is used for an image that is in none of them.
    """

    options: ClassVar[Mapping[str, str]] = {
        "images": "folder of all the images (default: the data set's own)",
        "names": f"file with the names of the {LABELS} labels, one per line (default: their numbers)",
    }
    path_options = ("images", "names")

    def __init__(self, prefix: str, index: str, folders: tuple[str, ...]) -> None:
        self.prefix, self.index, self.folders = prefix, index, folders
        self.layout = f"{', '.join(LISTS.values())}, {index}, {' and '.join(f'{name}/*.jpg' for name in folders)}"

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """train and test, as far as their lists exist.

        Raises:
            TagformerError: neither does.
        """
        existing = tuple(split for split, name in LISTS.items() if (path / name).is_file())
        if not existing:
            raise TagformerError(f"{path} has neither {' nor '.join(LISTS.values())}: the layout is {self.layout}.")
        return existing

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: no list or no index; an image that is a duplicate or not in the index; a label number out
                of range; another number of names than 500.
        """
        lists = [path / LISTS[name] for name in self.splits(path, options) if split in (name, "all")]
        names, origins = join_lists(lists, [read_names(file) for file in lists])
        index = path / self.index
        if not index.is_file():
            raise TagformerError(f"{index} does not exist: it gives the labels of the images in the lists.")
        numbers = read_json(index)
        if not isinstance(numbers, dict):
            raise TagformerError(
                f"{index} is not a JSON object: it needs a list of label numbers for each image's name."
            )
        return MultiLabelDataset(
            name=str(path),
            label_space=self.label_space(options),
            images=self._images(path, names, options),
            labels=SparseRows.of(_rows(names, origins, numbers, index), LABELS),
            ids=names,
            origins=origins,
        )

    def label_space(self, options: Mapping[str, str]) -> LabelSpace:
        """The 500 labels, by the names in the option's file or by their numbers.

        Raises:
            TagformerError: the file has another number of names.
        """
        if "names" in options:
            return read_label_space(Path(options["names"]).expanduser(), LABELS)
        return LabelSpace(tuple(f"{self.prefix}_{number:03d}" for number in range(LABELS)))

    def _images(self, path: Path, names: Strings, options: Mapping[str, str]) -> Files:
        if "images" in options:
            return Files(Path(options["images"]), names)
        first, *others = self.folders
        elsewhere = {
            name: folder for folder in others if (path / folder).is_dir() for name in os.listdir(path / folder)
        }
        return Files(path, (f"{elsewhere.get(name, first)}/{name}" for name in names))


VG500 = ImageListFormat("vg", "vg_category_500_labels_index.json", ("VG_100K", "VG_100K_2"))


def _rows(
    names: Strings, origins: Origins, numbers: Mapping[str, Any], index: Path
) -> Iterator[tuple[dict[int, int], int]]:
    """For each image label number -> present, and the state of its other labels."""
    for row, name in enumerate(names):
        if name not in numbers:
            raise TagformerError(f"{origins[row]}: {index} has no entry '{name}': add the image's labels, or [].")
        labels = numbers[name]
        if not isinstance(labels, list):
            raise TagformerError(f"{index}, entry '{name}' is not a list: write the numbers of the image's labels.")
        for number in labels:
            if type(number) is not int or not 0 <= number < LABELS:
                raise TagformerError(f"{index}, entry '{name}': label {number!r}: use whole numbers 0 to {LABELS - 1}.")
        yield dict.fromkeys(labels, PRESENT), ABSENT
