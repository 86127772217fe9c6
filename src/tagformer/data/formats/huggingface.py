"""Hugging Face's data sets, through its library ``datasets``: from the Hub, a local folder, or ``save_to_disk``.

Labels are a column of lists of class indices, in the order of their names, or of lists of text, in alphabetical order;
a null list means that the image was not annotated. Splits are ``train``, ``validation`` and ``test``, or the other
names that `split_of_name` knows; a warning names those that are ignored. A single ``train``, as the library names any
data without splits, does not count as a split. An id is the split and the row, from 1, or the cell of a column of ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.annotation import checked_id, class_names, read_annotation
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.options import TAG_OPTIONS, TagOptions
from tagformer.data.formats._common.sidecar import SIDECAR
from tagformer.data.formats._common.split_files import listed
from tagformer.data.formats._common.stored import Cells, read_cell
from tagformer.data.formats._common.table import Row, Table
from tagformer.data.splits import split_of_name
from tagformer.errors import TagformerError, did_you_mean


class HuggingFaceFormat(Format):
    """A data set of the library ``datasets``; see the module's text."""

    layout = "a folder that save_to_disk wrote, a folder or a name on the Hub that load_dataset takes"
    options: ClassVar[Mapping[str, str]] = {
        "image": "name of the column of images (default: the only one of type Image)",
        "labels": "name of the column of labels, lists or text (default: the only one with lists of either)",
        "config": "name of the data set's configuration (default: its own default)",
        "id": "name of a column of ids (default: the split and the row)",
        **TAG_OPTIONS,
    }
    hub_names = True

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """The data set's own splits; () where it has none, or only ``train``.

        Raises:
            TagformerError: as `load`, for loading the data set.
        """
        found = tuple(_load_splits(path, options)[0])
        return () if found == ("train",) else found

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: the library is not installed or cannot load the data set; no column of images or labels, or
                several; a class index without a name; the message names the data set and the row.
        """
        loaded, warnings = _load_splits(path, options)
        image, labels, classes = _find_columns(path, next(iter(loaded.values())).features, options)
        tags = TagOptions.parse(options)
        advice = "choose the column of names with ?labels=COLUMN"
        text = _is_text(next(iter(loaded.values())).features[labels])
        table, sources = Table("row", path / SIDECAR, classes, tags, advice, text), []
        for name, rows in loaded.items():
            if _find_columns(path, rows.features, options) != (image, labels, classes):
                raise TagformerError(f"{path}: the columns or class names of its splits differ.")
            table.read(Path(f"{path}, {name}"), _rows(path, name, rows, labels, classes, options))
            sources.append(_ImageColumn(f"{path}, {name}", rows, image))
        images = Cells.concatenated(sources, [len(rows) for rows in loaded.values()])
        dataset = table.build(str(path), path, split, images)
        return dataset.replace(warnings=(*dataset.warnings, *warnings))


def _load_splits(path: Path, options: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Tagformer's name of a split -> `datasets.Dataset`, in the order train, val, test; a sentence on other splits."""
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
        advice = "check what the library datasets expects there"
        if not path.exists():
            advice = "there is no such folder here; for a name on the Hub check its spelling and the network"
        raise TagformerError(f"huggingface cannot load {path} ({reason}): {advice}.") from error
    if not isinstance(loaded, dict):
        return {"train": loaded}, ()
    splits: dict[str, Any] = {}
    for name, rows in loaded.items():
        split = split_of_name(str(name))
        if split in splits:
            raise TagformerError(f"{path} has two splits for '{split}', one of them '{name}': rename it.")
        if split:
            splits[split] = rows
    if not splits:
        raise TagformerError(f"{path} has the splits {', '.join(loaded)}: none is train, validation or test.")
    ignored = [f"{name} ({len(rows)} images)" for name, rows in loaded.items() if not split_of_name(str(name))]
    warnings = (f"{path}: splits that are not train, validation or test were not read: {listed(ignored)}.",)
    return {split: splits[split] for split in SPLITS if split in splits}, warnings if ignored else ()


def _find_columns(
    path: Path, features: Mapping[str, Any], options: Mapping[str, str]
) -> tuple[str, str, tuple[str, ...] | None]:
    """The column of images, that of labels, and the names of its class indices."""
    from datasets import ClassLabel, Image

    image = _only_column(path, features, options, "image", lambda feature: isinstance(feature, Image), "images")
    named = options.get("labels")
    fits = _is_text if named is not None and _is_text(features.get(named)) else _is_labels
    labels = _only_column(path, features, options, "labels", fits, "lists of class indices or of text")
    id_ = options.get("id")
    if id_ is not None and id_ not in features:
        raise TagformerError(f"{path} has no column '{id_}'{did_you_mean(id_, features)}.")
    item = _item_type(features[labels])
    return image, labels, tuple(item.names) if isinstance(item, ClassLabel) else None


def _only_column(
    path: Path,
    features: Mapping[str, Any],
    options: Mapping[str, str],
    option: str,
    fits: Callable[[Any], bool],
    content: str,
) -> str:
    """The column that an option names, or else the only one that fits."""
    fitting = [name for name, feature in features.items() if fits(feature)]
    requested = options.get(option)
    if requested is None and len(fitting) == 1:
        return fitting[0]
    if requested is None:
        found = f"several columns with {content}, {', '.join(fitting)}" if fitting else f"no column with {content}"
        raise TagformerError(f"{path} has {found} (columns: {', '.join(features)}): name one with ?{option}=COLUMN.")
    if requested not in features:
        raise TagformerError(f"{path} has no column '{requested}'{did_you_mean(requested, features)}.")
    if requested not in fitting:
        raise TagformerError(f"{path}: column '{requested}' is {features[requested]}: it must hold {content}.")
    return requested


def _item_type(feature: Any) -> Any:
    """The type of a list's items, in the library's versions before and since 4; None for what is not a list."""
    return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in ("string", "large_string")


def _is_labels(feature: Any) -> bool:
    from datasets import ClassLabel

    item = _item_type(feature)
    return isinstance(item, ClassLabel) or getattr(item, "dtype", None) in ("string", "large_string")


def _rows(
    path: Path, split: str, rows: Any, labels: str, classes: tuple[str, ...] | None, options: Mapping[str, str]
) -> Iterator[Row]:
    id_column, separator = options.get("id"), TagOptions.parse(options).separator
    columns = [labels, *([id_column] if id_column else [])]
    number = 0
    for batch in rows.select_columns(columns).with_format("arrow").iter(4096):
        ids = batch.column(id_column).to_pylist() if id_column else [None] * len(batch)
        for tags, image_id in zip(batch.column(labels).to_pylist(), ids, strict=True):
            number += 1
            origin = f"{path}, {split}, row {number}"
            names = class_names(tags, classes, origin) if classes and tags is not None else tags
            if isinstance(names, str):
                separator = separator or ";"
            cells, rest, tagged = read_annotation({"tags": names}, origin, None if classes else separator)
            yield Row("", cells, rest, tagged, split, number, checked_id(image_id, origin) or f"{split}/{number}")


class _ImageColumn:
    """The encoded images of one split."""

    def __init__(self, name: str, rows: Any, column: str) -> None:
        from datasets import Image

        self._name, self._column = name, column
        self._rows = rows.select_columns([column]).cast_column(column, Image(decode=False)).with_format(None)

    def __str__(self) -> str:
        return self._name

    def encoded(self, row: int) -> bytes:
        """The image in a row, from 0.

        Raises:
            OSError, ValueError: the row cannot be read, or its cell holds no image.
        """
        cell = self._rows[row][self._column] or {}
        return read_cell(cell.get("bytes"), Path(cell["path"]) if cell.get("path") else None)
