"""Hugging Face's data sets, through its library ``datasets``: from the Hub, a local folder, or ``save_to_disk``.

Labels are a column of lists of class indices, in the order of their names, or of lists of text, in alphabetical order;
a null list means that the image was not annotated. Splits are ``train``, ``validation`` (also ``valid``, ``val``,
``dev``) and ``test``; others are left out. A lone ``train``, as the library calls any data without splits, is none. An
id is the split and the row, from 1, or the cell of a column of ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.annotation import checked_id, class_names, read_annotation
from tagformer.data.formats._common.stored import Cells, bytes_of
from tagformer.data.formats._common.table import Row, Table
from tagformer.errors import TagformerError, did_you_mean

TREE = "a folder that save_to_disk wrote, a folder or a name on the Hub that load_dataset takes"
OPTIONS = {
    "image": "name of the column of images (default: the only one of type Image)",
    "labels": "name of the column of labels (default: the only one with lists of class indices or of text)",
    "config": "name of the data set's configuration (default: its own default)",
    "id": "name of a column of ids (default: the split and the row)",
}
WORDS = {"train": "train", "validation": "val", "valid": "val", "val": "val", "dev": "val", "test": "test"}


def splits(path: Path | None, options: dict[str, str]) -> tuple[str, ...]:
    """The data set's own splits; () where it has none, or only ``train``."""
    assert path is not None
    found = tuple(_load(path, options))
    return () if found == ("train",) else found


def load(path: Path | None, split: str, options: dict[str, str]) -> MultiLabelDataset:
    """Load a data set; see the module's text.

    Raises:
        TagformerError: the library is not installed or cannot load it, there are no columns of images or labels or
            several, a class index without a name; the message names the data set and the row.
    """
    assert path is not None
    parts = _load(path, options)
    image, labels, classes = _columns(path, next(iter(parts.values())).features, options)
    table, sources = Table("row", sidecar=path / "labels.json"), []
    for own_split, part in parts.items():
        if _columns(path, part.features, options) != (image, labels, classes):
            raise TagformerError(f"{path}: the columns or class names of its splits differ.")
        table.read(Path(f"{path}, {own_split}"), _rows(path, own_split, part, labels, classes, options.get("id")))
        sources.append(_ImageColumn(f"{path}, {own_split}", part, image))
    counts = [len(part) for part in parts.values()]
    images = Cells(sources, np.repeat(np.arange(len(parts)), counts), np.concatenate([*map(np.arange, counts)]))
    return table.build(str(path), path, split, classes, images)


def _load(path: Path, options: dict[str, str]) -> dict[str, Any]:
    """Our split -> `datasets.Dataset`, in the order train, val, test."""
    try:
        import datasets
    except ImportError as error:
        raise TagformerError(
            "the format huggingface needs the package datasets: install it with pip install datasets."
        ) from error
    try:
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(str(path))
        else:
            loaded = datasets.load_dataset(path.as_posix(), options.get("config"))
    except Exception as error:  # the library, its builders and its network raise errors of any kind
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        advice = "see what the library datasets needs there"
        if not path.exists():
            advice = "there is no such folder here; for a name on the Hub check its spelling and the network"
        raise TagformerError(f"huggingface cannot load {path} ({reason}): {advice}.") from error
    if not isinstance(loaded, dict):
        return {"train": loaded}
    parts: dict[str, Any] = {}
    for name, part in loaded.items():
        own_split = WORDS.get(str(name))
        if own_split in parts:
            raise TagformerError(f"{path} has two splits for '{own_split}', one of them '{name}': rename it.")
        if own_split:
            parts[own_split] = part
    if not parts:
        raise TagformerError(f"{path} has the splits {', '.join(loaded)}: none is train, validation or test.")
    return {split: parts[split] for split in SPLITS if split in parts}


def _columns(path: Path, features: dict[str, Any], options: dict[str, str]) -> tuple[str, str, tuple[str, ...] | None]:
    """The column of images, that of labels, and the names of its class indices."""
    from datasets import ClassLabel, Image

    def items(feature: Any) -> Any:
        """The type of a list's items, in the library's versions before and since 4."""
        return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)

    def is_labels(feature: Any) -> bool:
        own = items(feature)
        return isinstance(own, ClassLabel) or getattr(own, "dtype", None) in ("string", "large_string")

    def only(option: str, fits: Any, what: str) -> str:
        fitting = [name for name, feature in features.items() if fits(feature)]
        wanted = options.get(option)
        if wanted is None and len(fitting) == 1:
            return fitting[0]
        if wanted is None:
            found = f"several columns with {what}, {', '.join(fitting)}" if fitting else f"no column with {what}"
            raise TagformerError(
                f"{path} has {found} (columns: {', '.join(features)}): name one with ?{option}=COLUMN."
            )
        if wanted not in features:
            raise TagformerError(f"{path} has no column '{wanted}'{did_you_mean(wanted, features)}.")
        if wanted not in fitting:
            raise TagformerError(f"{path}: column '{wanted}' is {features[wanted]}: it must hold {what}.")
        return wanted

    image = only("image", lambda feature: isinstance(feature, Image), "images")
    labels = only("labels", is_labels, "lists of class indices or of text")
    own_id = options.get("id")
    if own_id is not None and own_id not in features:
        raise TagformerError(f"{path} has no column '{own_id}'{did_you_mean(own_id, features)}.")
    own = items(features[labels])
    return image, labels, tuple(own.names) if isinstance(own, ClassLabel) else None


def _rows(
    path: Path, split: str, part: Any, labels: str, classes: tuple[str, ...] | None, own_id: str | None
) -> Iterator[Row]:
    wanted = [labels, *([own_id] if own_id else [])]
    number = 0
    for batch in part.select_columns(wanted).with_format("arrow").iter(4096):
        ids = batch.column(own_id).to_pylist() if own_id else [None] * len(batch)
        for tags, image_id in zip(batch.column(labels).to_pylist(), ids, strict=True):
            number += 1
            origin = f"{path}, {split}, row {number}"
            said = class_names(tags, classes, origin) if classes and tags is not None else tags
            cells, rest, tagged = read_annotation({"tags": said}, origin)
            yield Row("", cells, rest, tagged, split, number, checked_id(image_id, origin) or f"{split}/{number}")


class _ImageColumn:
    """The images of one split, not decoded."""

    def __init__(self, name: str, part: Any, column: str) -> None:
        from datasets import Image

        self._name, self._column = name, column
        self._part = part.select_columns([column]).cast_column(column, Image(decode=False)).with_format(None)

    def __str__(self) -> str:
        return self._name

    def encoded(self, row: int) -> bytes:
        """
        Raises:
            OSError, ValueError: the row cannot be read, or its cell holds no image.
        """
        cell = self._part[row][self._column] or {}
        return bytes_of(cell.get("bytes"), Path(cell["path"]) if cell.get("path") else None)
