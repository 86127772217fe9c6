"""The formats by name, and a data set's address: ``format[:path][?option=value&...]``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats import (
    coco,
    coco_captions,
    csv,
    cub,
    huggingface,
    imagefolder,
    jsonl,
    nuswide,
    parquet,
    scenes,
    shards,
    visual_genome,
    voc,
)
from tagformer.data.formats.visual_genome import NEWS500, VG500
from tagformer.errors import TagformerError, did_you_mean


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
    "coco1000": _format(coco_captions),
    "csv": _format(csv),
    "cub": _format(cub),
    "huggingface": _format(huggingface, names=True),
    "imagefolder": _format(imagefolder),
    "jsonl": _format(jsonl),
    "news500": Format(NEWS500.load, NEWS500.splits, visual_genome.OPTIONS, NEWS500.tree),
    "nuswide": _format(nuswide, some_missing=True),
    "parquet": _format(parquet),
    "scenes": _format(scenes),
    "shards": _format(shards),
    "vg500": Format(VG500.load, VG500.splits, visual_genome.OPTIONS, VG500.tree),
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
                f"unknown data format '{name}'{did_you_mean(name, FORMATS)} (formats: {known}; "
                "write FORMAT:PATH, for example csv:my.csv)."
            )
        options = dict(parse_qsl(query, keep_blank_values=True))
        for option in options:
            if option not in FORMATS[name].options:
                allowed = ", ".join(FORMATS[name].options) or "none"
                raise TagformerError(
                    f"unknown option '{option}' of format '{name}'{did_you_mean(option, FORMATS[name].options)} "
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
