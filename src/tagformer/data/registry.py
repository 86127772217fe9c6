"""Data sets by name: ``load_dataset("coco:/path", split="train")``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus

from tagformer.data import (
    coco,
    coco1000,
    csv,
    cub,
    huggingface,
    image_lists,
    imagefolder,
    jsonl,
    nuswide,
    parquet,
    scenes,
    shards,
    voc,
)
from tagformer.data.image_lists import NEWS500, VG500
from tagformer.data.record import SPLITS, MultiLabelDataset
from tagformer.errors import BadImageError, TagformerError, nearest
from tagformer.labels import PRESENT


@dataclass(frozen=True)
class Format:
    """A way to store a data set.

    Attributes:
        load: ``load(path, split, options)``; `path` is None where the format needs none.
        splits: ``splits(path, options)``, the splits that the data itself defines.
        options: the names that may follow ``?``, each with what it does.
        tree: the files it expects, in a few words.
        some_missing: image files are usually missing (they were links once), so that leaving them out is no error.
        names: the path may be a name on a hub instead, so that nothing need exist there.
    """

    load: Callable[[Path | None, str, dict[str, str]], MultiLabelDataset]
    splits: Callable[[Path | None, dict[str, str]], tuple[str, ...]]
    options: dict[str, str]
    tree: str
    some_missing: bool = False
    names: bool = False


TABLES = ("csv", "jsonl", "parquet")  # whose files need no format before the path
FILE_OPTIONS = {"images", "names"}  # of the formats: paths, which are kept absolute


def _format(module: Any, **options: Any) -> Format:
    return Format(module.load, module.splits, module.OPTIONS, module.TREE, **options)


def _of_year(module: Any, year: str) -> Format:
    return Format(partial(module.load, year=year), partial(module.splits, year=year), module.OPTIONS, module.tree(year))


FORMATS: dict[str, Format] = {
    "coco": _format(coco),
    "coco2014": _of_year(coco, "2014"),
    "coco2017": _of_year(coco, "2017"),
    "coco1000": _format(coco1000),
    "csv": _format(csv),
    "cub": _format(cub),
    "huggingface": _format(huggingface, names=True),
    "imagefolder": _format(imagefolder),
    "jsonl": _format(jsonl),
    "news500": Format(NEWS500.load, NEWS500.splits, image_lists.OPTIONS, NEWS500.tree),
    "nuswide": _format(nuswide, some_missing=True),
    "parquet": _format(parquet),
    "scenes": _format(scenes),
    "shards": _format(shards),
    "vg500": Format(VG500.load, VG500.splits, image_lists.OPTIONS, VG500.tree),
    "voc2007": _of_year(voc, "2007"),
    "voc2012": _of_year(voc, "2012"),
}


@dataclass(frozen=True)
class Spec:
    """A data set's address, ``format[:path][?option=value&...]``.

    A bare path to a table is enough: ``my.csv``, ``my.jsonl`` and ``my.parquet`` say their format.
    """

    format: str
    path: Path | None
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """
        Raises:
            TagformerError: no such format or option, or the path is missing.
        """
        address, _, query = text.partition("?")
        name, colon, path = address.partition(":")
        suffix = address.rpartition(".")[2].lower()
        if not colon and suffix in TABLES:
            name, path = suffix, address
        if name not in FORMATS:
            known = ", ".join(sorted(FORMATS))
            raise TagformerError(
                f"unknown data format '{name}'{nearest(name, FORMATS)} (formats: {known}; "
                "write FORMAT:PATH, for example csv:my.csv)."
            )
        options = dict(parse_qsl(query, keep_blank_values=True))
        for option in options:
            if option not in FORMATS[name].options:
                allowed = ", ".join(FORMATS[name].options) or "none"
                raise TagformerError(
                    f"unknown option '{option}' of format '{name}'{nearest(option, FORMATS[name].options)} "
                    f"(options: {allowed})."
                )
        if name != "scenes" and not path:
            raise TagformerError(f"data '{text}' has no path: write {name}:PATH.")
        for option in FILE_OPTIONS & options.keys() if path else ():
            options[option] = str(Path(os.path.expanduser(options[option])).resolve())
        located = Path(os.path.expanduser(path)) if path else None
        if located is not None and not located.exists() and not FORMATS[name].names:
            raise TagformerError(f"data '{text}': {located} does not exist.")
        return cls(name, located, options)

    def __str__(self) -> str:
        """The address with an absolute path, which `parse` reads from any folder."""
        path = f":{self.path.resolve() if self.path.exists() else self.path.as_posix()}" if self.path else ""
        query = "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in self.options.items())
        return f"{self.format}{path}{'?' + query if query else ''}"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the data itself defines, in the order train, val, test; empty where it has none."""
        return FORMATS[self.format].splits(self.path, self.options)

    @property
    def evaluation_split(self) -> str:
        """The split that figures are reported on: test, or val where the data has splits of its own but no test."""
        own = self.splits
        return "test" if not own or "test" in own else "val"


def load_dataset(spec: str, split: str = "train", on_bad_image: str = "error") -> MultiLabelDataset:
    """Load one split of a data set.

    Args:
        spec: ``format[:path][?option=value&...]``, for example ``csv:my.csv``, ``coco:/data/coco?annotated=all``,
            ``scenes?images=2000&seed=1``.
        split: ``train``, ``val``, ``test`` or ``all``. Where the data defines no splits, one is drawn by id:
            80 % train, 10 % val, 10 % test.
        on_bad_image: what to do with an image file that is not there: ``error``, ``skip`` (leave it out), or ``keep``
            (find out when it is read).

    Returns:
        The data set; its ``labels`` are int8 (N, L).

    Raises:
        TagformerError: the spec or the files are at fault; the message names the file and the line.
    """
    parsed = Spec.parse(spec)
    if split not in (*SPLITS, "all"):
        raise TagformerError(f"unknown split '{split}'{nearest(split, SPLITS)}: use train, val, test or all.")
    own = parsed.splits
    if own and split not in (*own, "all"):
        raise TagformerError(f"{spec} has no '{split}' split; it has {', '.join(own)}.")
    dataset = FORMATS[parsed.format].load(parsed.path, split if own else "all", parsed.options)
    if not own and split != "all":
        parts = split_by_id(dataset.ids, {"val": 0.1, "test": 0.1})
        dataset = dataset.subset(parts[split])
    if not len(dataset):
        raise TagformerError(f"{spec} has no images in its '{split}' split.")
    if FORMATS[parsed.format].some_missing and on_bad_image == "error":
        on_bad_image = "skip"
    return _without_missing_files(dataset, on_bad_image)


def load_training_data(
    spec: str, val_fraction: float = 0.1, seed: int = 0, on_bad_image: str = "error"
) -> tuple[MultiLabelDataset, MultiLabelDataset]:
    """The training and the validation split; where the data defines splits but no ``val``, it is drawn from ``train``.

    Raises:
        TagformerError: as `load_dataset`; no training split; a split in which no image has a label.
    """
    train = load_dataset(spec, "train", on_bad_image)
    own = Spec.parse(spec).splits
    if not own or "val" in own:
        val = load_dataset(spec, "val", on_bad_image)
    else:
        parts = split_by_id(train.ids, {"val": val_fraction}, seed)
        train, val = train.subset(parts["train"]), train.subset(parts["val"])
    for part, name in ((train, "training"), (val, "validation")):
        if not part.label_rows.count(PRESENT)[part.label_space.is_target].any():
            raise TagformerError(
                f"{spec}: no image of the {name} split has a label: check the table, or give more images."
            )
    return train, val


def split_by_id(ids: Sequence[str], shares: dict[str, float], seed: int = 0) -> dict[str, list[int]]:
    """Draw splits: about the share of the images that each name is given, and ``train`` for the rest.

    A hash of seed and id decides, so an image stays on its side when others come or go. Only where that would leave a
    part empty (a few dozen images) the images are ranked by the hash instead, and each part gets at least one.

    Raises:
        TagformerError: too few images.
    """
    if len(ids) < len(shares) + 1:
        raise TagformerError(f"{len(ids)} images cannot be split into {len(shares) + 1} parts: more images are needed.")
    digests = [hashlib.blake2b(f"{seed}/{image_id}".encode(), digest_size=8).digest() for image_id in ids]
    places = [int.from_bytes(digest, "little") / 2**64 for digest in digests]
    parts = _cut(places, shares)
    if not all(parts.values()):
        order = sorted(range(len(ids)), key=places.__getitem__)
        sizes = {name: max(1, round(share * len(ids))) for name, share in shares.items()}
        ranks = {image: rank / len(ids) for rank, image in enumerate(order)}
        parts = _cut([ranks[i] for i in range(len(ids))], {name: size / len(ids) for name, size in sizes.items()})
    return parts


def _cut(places: Sequence[float], shares: dict[str, float]) -> dict[str, list[int]]:
    """The indices whose places in [0, 1) fall into each share, one after the other; ``train`` is the rest."""
    parts: dict[str, list[int]] = {name: [] for name in (*shares, "train")}
    for index, place in enumerate(places):
        limit = 0.0
        for name, share in shares.items():
            limit += share
            if place < limit - 1e-12:
                parts[name].append(index)
                break
        else:
            parts["train"].append(index)
    return parts


def _without_missing_files(dataset: MultiLabelDataset, on_bad_image: str) -> MultiLabelDataset:
    if on_bad_image == "keep":
        return dataset
    missing = [i for i, image in enumerate(dataset.images) if isinstance(image, Path) and not image.is_file()]
    if not missing:
        return dataset
    if on_bad_image == "skip":
        gone = set(missing)
        if len(gone) == len(dataset):
            raise TagformerError(f"{dataset.name}: none of its {len(dataset)} image files exists.")
        rest = dataset.subset([i for i in range(len(dataset)) if i not in gone])
        return rest.with_(left_out=tuple(f"image {dataset.images[i]} does not exist." for i in missing))
    where = dataset.origins[missing[0]] + ": " if dataset.origins else ""
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    raise BadImageError(
        f"{where}image {dataset.images[missing[0]]} does not exist{more}: mend the path, or leave such images out "
        "with --on-bad-image skip."
    )
