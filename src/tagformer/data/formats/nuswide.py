"""NUS-WIDE: 269,648 Flickr images with 81 concepts, 161,789 for training and 107,859 for testing.

The official archives contain two lists of images and, for each concept and list, a file with a line 1 or 0 per image.
A fifth of the images have none of the 81 concepts. They are kept by default; the subset ``labelled`` leaves them out:
125,449 and 83,898 images remain, 209,347 in all. Six of the paths are duplicates of another photograph.

ASL reports on 220,000 images, those that could still be downloaded from Flickr, and MlTr gives the same number. No
rule selects them from the official lists. ``all`` without the image files that are missing on your disk is the most
similar selection, and ``labelled`` the closest in number; figures on either are not directly comparable with those of
the papers.

Source: Chua et al., NUS-WIDE: A Real-World Web Image Database from National University of Singapore, CIVR 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from tagformer.data.columns import Files
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.lists import join_lists, read_label_space, read_names
from tagformer.data.formats._common.options import choose
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError
from tagformer.files import first_existing, read_bytes
from tagformer.labels.space import ABSENT, PRESENT

LAYOUT = "NUS-WIDE"
CONCEPTS = 81
STEMS = {"train": "Train", "test": "Test"}


class NusWideFormat(Format):
    """The official archives of NUS-WIDE; see the module's text."""

    layout = (
        "ConceptsList/Concepts81.txt, ImageList/{Train,Test}Imagelist.txt, "
        "Groundtruth/TrainTestLabels/Labels_CONCEPT_{Train,Test}.txt, Flickr/FOLDER/*.jpg"
    )
    options: ClassVar[Mapping[str, str]] = {
        "subset": "all (default), or labelled: only images with at least one of the 81 labels",
        "images": "folder of the images (default: Flickr/, or images/ where that is absent)",
    }
    path_options = ("images",)
    images_often_missing = True

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """train and test, as far as their lists exist.

        Raises:
            TagformerError: neither does.
        """
        existing = tuple(split for split in STEMS if _list_file(path, split).is_file())
        if not existing:
            raise TagformerError(f"{path} has no ImageList/TrainImagelist.txt (or Test): see the layout of {LAYOUT}.")
        return existing

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: a file is missing; a duplicate image; a label file whose number of lines differs from the
                list of images, or with a line that is not 0 or 1.
        """
        subset = choose(options, {"subset": ("all", "labelled")})["subset"]
        label_space = read_label_space(
            first_existing(path, "ConceptsList/Concepts81.txt", "Concepts81.txt", layout=LAYOUT), CONCEPTS
        )
        folder = first_existing(path, "Groundtruth/TrainTestLabels", "TrainTestLabels", layout=LAYOUT)
        splits = [name for name in self.splits(path, options) if split in (name, "all")]
        files = [_list_file(path, name) for name in splits]
        lists = [read_names(file) for file in files]
        names, origins = join_lists(files, lists)
        rows = []
        for name, paths in zip(splits, lists, strict=True):
            columns = [folder / f"Labels_{concept}_{STEMS[name]}.txt" for concept in label_space.names]
            rows.append(_read_rows(columns, len(paths)))
        flickr = path / "Flickr"
        images = flickr if flickr.is_dir() or not (path / "images").is_dir() else path / "images"
        dataset = MultiLabelDataset(
            name=str(path),
            label_space=label_space,
            images=Files(Path(options.get("images", images)), names),
            labels=SparseRows.concatenated(rows),
            ids=names,
            origins=origins,
        )
        if subset == "labelled":
            return dataset.subset(np.flatnonzero(dataset.label_rows.count_by_row(PRESENT)))
        return dataset


def _list_file(path: Path, split: str) -> Path:
    return path / "ImageList" / f"{STEMS[split]}Imagelist.txt"


def _read_rows(files: Sequence[Path], count: int) -> SparseRows:
    """The labels (count, L) of the images of one list, from one file per label."""
    present = [_read_column(file, count) for file in files]
    rows = np.concatenate(present)
    columns = np.repeat(np.arange(len(files), dtype=np.int32), [len(column) for column in present])
    starts = np.concatenate([[0], np.bincount(rows, minlength=count).cumsum()])
    values, rest = np.full(len(rows), PRESENT, dtype=np.int8), np.full(count, ABSENT, dtype=np.int8)
    return SparseRows(len(files), starts, columns[np.argsort(rows, kind="stable")], values, rest)


def _read_column(file: Path, count: int) -> np.ndarray:
    """int64 (P,): the rows that are 1 in a file with `count` lines of 0 or 1."""
    try:
        content = read_bytes(file)
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error
    content = content.translate(None, b" \t\r").rstrip(b"\n") + b"\n"
    symbols = np.frombuffer(content, dtype=np.uint8)
    states, ends = symbols[0::2], symbols[1::2]
    if len(content) == 2 * count and (ends == ord("\n")).all() and np.isin(states, [ord("0"), ord("1")]).all():
        return np.flatnonzero(states == ord("1"))
    lines = content.splitlines()
    for number, line in enumerate(lines, 1):
        if line not in (b"0", b"1"):
            raise TagformerError(f"{file}, line {number}: '{line[:20].decode(errors='replace')}': use 0 or 1.")
    raise TagformerError(f"{file} has {len(lines)} lines for the {count} images of its list: it needs one for each.")
