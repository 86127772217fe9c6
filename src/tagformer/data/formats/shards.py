"""Shards: WebDataset's tars, in which KEY.jpg (or another image) stands with KEY.json, what is said of its labels.

The object in KEY.json is that of a line of JSON lines; see `jsonl`. An id is its ``id`` or, without one, the tar's name
and the key: ``train-000000/000017``. Members of other kinds are passed over. Images are read from the tar at their
offset; a tar of any size is read through only once, when its data set is loaded.
"""

from __future__ import annotations

import re
import tarfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tagformer.data.columns import Strings
from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.formats._common.annotation import checked_id, parse, read_annotation
from tagformer.data.formats._common.stored import Members
from tagformer.data.formats._common.table import SIDECAR, Row, Table
from tagformer.errors import TagformerError
from tagformer.images.reading import EXTENSIONS

TREE = (
    "{train,val,test}-*.tar or {train,val,test}/*.tar, or *.tar without splits, of KEY.jpg and KEY.json; perhaps "
    "labels.json beside them"
)
OPTIONS: dict[str, str] = {}
MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")  # WebDataset's: a key ends at its name's first dot


def splits(path: Path | None, options: dict[str, str]) -> tuple[str, ...]:
    """The splits that the tars' names or folders say; () where they say none."""
    assert path is not None
    found = {split for _, split in _tars(path)}
    return tuple(split for split in SPLITS if split in found)


def load(path: Path | None, split: str, options: dict[str, str]) -> MultiLabelDataset:
    """Load a tar or a folder of them; see the module's text.

    With labels.json only the tars of `split` are read; without it all are, for the labels.

    Raises:
        TagformerError: no tars, one that is truncated or no tar, an image without its .json or the other way round, a
            .json that says something else; the message names the tar and the member.
    """
    assert path is not None
    root = path if path.is_dir() else path.parent
    table, index = Table("sample", sidecar=root / SIDECAR), _Index()
    for tar, own_split in _tars(path):
        if split in (own_split, "all") or not (root / SIDECAR).is_file():
            table.read(tar, index.read(tar, own_split, root))
    return table.build(str(path), root, split, images=index.images())


def _tars(path: Path) -> list[tuple[Path, str]]:
    """The tars and the split of each; "" where nothing says one."""
    if not path.is_dir():
        return [(path, path.stem.split("-")[0] if path.stem.split("-")[0] in SPLITS else "")]
    own = sorted(path.glob("*.tar"))
    found = []
    for split in SPLITS:
        named = [tar for tar in own if tar.stem == split or tar.name.startswith(f"{split}-")]
        found += [(tar, split) for tar in [*named, *sorted((path / split).glob("*.tar"))]]
    others = [tar for tar in own if (tar, tar.stem.split("-")[0]) not in found]
    if found and others:
        raise TagformerError(f"{others[0]} is of no split, but {found[0][0]} is: call it train-, val- or test-*.tar.")
    if not found and not others:
        raise TagformerError(f"{path} has no tars: expected {TREE}.")
    return found or [(tar, "") for tar in others]


@dataclass
class _Sample:
    """What was found for one key of a tar."""

    image: tuple[str, int, int] | None = None  # name, offset and length
    said: tuple[str, bytes] | None = None  # name and content of the .json


class _Index:
    """Where the images of the tars read so far lie."""

    def __init__(self) -> None:
        self._tars: list[Path] = []
        self._names = Strings()
        self._which, self._offsets, self._lengths = array("i"), array("q"), array("q")

    def images(self) -> Members:
        """The images, in the order of the rows."""
        return Members(self._tars, self._which, self._names, self._offsets, self._lengths)

    def read(self, tar: Path, split: str, root: Path) -> Iterator[Row]:
        """The rows of one tar, in the order in which its keys come first."""
        prefix = tar.relative_to(root).with_suffix("").as_posix()
        self._tars.append(tar)
        for number, (key, sample) in enumerate(_samples(tar).items(), start=1):
            if sample.image is None or sample.said is None:
                name, lacks = (sample.said or ("",))[0], "image"
                if sample.image is not None:
                    name, lacks = sample.image[0], f"{key}.json"
                raise TagformerError(f"{tar}: member {name} has no {lacks} beside it: a sample needs both.")
            name, offset, length = sample.image
            self._names.append(name)
            self._which.append(len(self._tars) - 1)
            self._offsets.append(offset)
            self._lengths.append(length)
            origin = f"{tar}, {sample.said[0]}"
            said = parse(sample.said[1], origin)
            cells, rest, tagged = read_annotation(said, origin)
            yield Row("", cells, rest, tagged, split, number, checked_id(said.get("id"), origin) or f"{prefix}/{key}")


def _samples(file: Path) -> dict[str, _Sample]:
    """Key -> image and text of a tar, from its headers."""
    samples: dict[str, _Sample] = {}
    last = "its start"
    try:
        with file.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
                last = f"member {member.name}"
                match = MEMBER.fullmatch(member.name)
                if match is None or not member.isreg():
                    continue
                key, extension = match[1], match[2].lower()
                sample = samples.get(key) or _Sample()
                if extension == "json":
                    if sample.said is not None:
                        raise TagformerError(f"{file}: member {member.name} stands there twice: write each key once.")
                    stream.seek(member.offset_data)
                    sample.said = member.name, stream.read(member.size)
                elif f".{extension}" in EXTENSIONS:
                    if sample.image is not None:
                        raise TagformerError(
                            f"{file}: members {sample.image[0]} and {member.name} are both images of one key: "
                            "give each a key of its own."
                        )
                    sample.image = member.name, member.offset_data, member.size
                else:
                    continue
                samples[key] = sample
            stream.seek(tar.offset)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end of archive")
    except (tarfile.TarError, OSError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise TagformerError(
            f"{file} is no tar, or not a whole one, after {last} ({reason}): fetch it again."
        ) from error
    return samples
