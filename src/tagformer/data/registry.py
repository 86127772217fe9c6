"""The formats by name, and a data set's address: ``format[:path][?option=value&...]``."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote_plus

from tagformer.data.formats._common.format import Format
from tagformer.data.formats.coco.captions import Coco1000Format
from tagformer.data.formats.coco.instances import CocoFormat
from tagformer.data.formats.csv.reader import CsvFormat
from tagformer.data.formats.cub.reader import CubFormat
from tagformer.data.formats.huggingface import HuggingFaceFormat
from tagformer.data.formats.imagefolder import ImageFolderFormat
from tagformer.data.formats.jsonl import JsonlFormat
from tagformer.data.formats.news import NEWS500
from tagformer.data.formats.nuswide import NusWideFormat
from tagformer.data.formats.parquet.reader import ParquetFormat
from tagformer.data.formats.scenes import ScenesFormat
from tagformer.data.formats.shards import ShardFormat
from tagformer.data.formats.visual_genome import VG500
from tagformer.data.formats.voc import VocFormat
from tagformer.data.own_formats import create_own, splits_of
from tagformer.errors import TagformerError, did_you_mean
from tagformer.extensions import is_reference, load_reference

MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
FORMATS: dict[str, Format] = {
    "coco": CocoFormat(),
    "coco2014": CocoFormat("2014"),
    "coco2017": CocoFormat("2017"),
    "coco1000": Coco1000Format(),
    "csv": CsvFormat(),
    "cub": CubFormat(),
    "huggingface": HuggingFaceFormat(),
    "imagefolder": ImageFolderFormat(),
    "jsonl": JsonlFormat(),
    "news500": NEWS500,
    "nuswide": NusWideFormat(),
    "parquet": ParquetFormat(),
    "scenes": ScenesFormat(),
    "shards": ShardFormat(),
    "vg500": VG500,
    "voc2007": VocFormat("2007"),
    "voc2012": VocFormat("2012"),
}


def get_format(name: str) -> Format:
    """The format of a name: one of `FORMATS`, or a format of your own, ``my_module:MyFormat``.

    Raises:
        TagformerError: there is no such format, or it cannot be imported or created.

    >>> get_format("csv").suffixes
    ('.csv', '.tsv')
    """
    if name in FORMATS:
        return FORMATS[name]
    if not is_reference(name):
        close = did_you_mean(name, FORMATS)
        own = f"; an own format needs its module '{name}' on the Python path" if MODULE.fullmatch(name) else ""
        raise TagformerError(
            f"unknown data format '{name}'{close} (formats: {', '.join(sorted(FORMATS))}; "
            f"write FORMAT:PATH, for example csv:my.csv{own if not close else ''})."
        )
    return create_own(name, load_reference(name, "data format", Format))


@dataclass(frozen=True)
class Spec:
    """A data set's address, ``format[:path][?option=value&...]``.

    A bare path is enough for ``my.csv``, ``my.jsonl`` and ``my.parquet``, whose suffix names the format. A format of
    your own is ``my_module:MyFormat[:path]``; the name of a registered format always takes precedence.

    Attributes:
        format: a name that `get_format` finds.
        path: where the data is; ``Path()`` for a format without a path.
        options: name -> value.

    >>> Spec.parse("scenes?images=12&seed=3").options
    {'images': '12', 'seed': '3'}
    """

    format: str
    path: Path
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read an address.

        Raises:
            TagformerError: there is no such format or option, or the path is missing.
        """
        address, _, query = text.partition("?")
        name, path_text = split_address(address)
        format_ = get_format(name)
        options = dict(parse_qsl(query, keep_blank_values=True))
        for option in options:
            if option not in format_.options:
                allowed = ", ".join(format_.options) or "none"
                raise TagformerError(
                    f"unknown option '{option}' of format '{name}'{did_you_mean(option, format_.options)} "
                    f"(options: {allowed})."
                )
        for option in format_.path_options:
            if option in options:
                options[option] = str(Path(os.path.expanduser(options[option])).resolve())
        if not format_.needs_path:
            if path_text:
                raise TagformerError(f"data '{text}': format '{name}' takes no path: write {name}?OPTION=VALUE.")
            return cls(name, Path(), options)
        if not path_text:
            raise TagformerError(f"data '{text}' has no path: write {name}:PATH.")
        path = Path(os.path.expanduser(path_text))  # unlike Path.expanduser, this accepts '~name' without such a user
        if not path.exists() and not format_.hub_names:
            raise TagformerError(f"data '{text}': {path} does not exist.")
        return cls(name, path, options)

    def __str__(self) -> str:
        """The address with an absolute path, which `parse` reads from any folder."""
        path = ""
        if get_format(self.format).needs_path:
            path = f":{self.path.resolve() if self.path.exists() else self.path.as_posix()}"
        query = "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in self.options.items())
        return f"{self.format}{path}{'?' + query if query else ''}"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the data itself defines, in the order train, val, test; empty where it has none."""
        return splits_of(self.format, get_format(self.format), self.path, self.options)

    @property
    def evaluation_split(self) -> str:
        """The split that figures are reported on: test, or val where the data defines splits but no test."""
        splits = self.splits
        return "test" if not splits or "test" in splits else "val"


def split_address(address: str) -> tuple[str, str]:
    """The name of the format and the path in an address without its options.

    >>> split_address("csv:photos/my.csv"), split_address("my.csv"), split_address("my_module:MyFormat:photos")
    (('csv', 'photos/my.csv'), ('csv', 'my.csv'), ('my_module:MyFormat', 'photos'))
    """
    name, colon, path = address.partition(":")
    if name in FORMATS:
        return name, path
    if not colon:
        by_suffix = (format_name for format_name, entry in FORMATS.items() if address.lower().endswith(entry.suffixes))
        return next(by_suffix, name), address
    class_name, second_colon, class_path = path.partition(":")
    reference = f"{name}:{class_name}"
    mistyped = did_you_mean(name, FORMATS) and not _has_module(name)
    if is_reference(reference) and not mistyped and (second_colon or _has_module(name)):
        return reference, class_path
    return name, path  # a mistyped name of a format, as in jsnl:data


def _has_module(name: str) -> bool:
    """Whether a module outside the standard library has this name."""
    if name.partition(".")[0] in sys.stdlib_module_names:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:  # a dotted name imports its package
        return False
