"""The file labels.json beside a table: ``{"names": [...], "groups": {...}, "extra": [...]}`` fixes the labels.

Other tools write files of this name too. One without a list ``names`` is not used, and a warning says so.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagformer.errors import TagformerError
from tagformer.files import read_json
from tagformer.labels.space import LabelSpace

SIDECAR = "labels.json"


@dataclass(frozen=True)
class Sidecar:
    """The content of a labels.json.

    Attributes:
        file: the file, for messages.
        label_space: the labels.
        exhaustive: see `MultiLabelDataset`; None where the file does not say.
    """

    file: Path
    label_space: LabelSpace
    exhaustive: bool | None

    @classmethod
    def read(cls, file: Path) -> Sidecar | None:
        """Read the file; None where it does not exist, or is a file of another tool.

        Raises:
            TagformerError: it has names, but is not of this form.
        """
        content = _content(file)
        if content is None:
            return None
        if not _are_names(content["names"]):
            raise TagformerError(f"{file}: 'names' must be a list of labels.")
        groups, extra = content.get("groups", {}), content.get("extra", [])
        if not isinstance(groups, dict) or not all(map(_are_names, groups.values())):
            raise TagformerError(f"{file}: 'groups' must give each group a list of labels.")
        if not _are_names(extra):
            raise TagformerError(f"{file}: 'extra' must be a list of labels.")
        exhaustive = content.get("exhaustive")
        if exhaustive is not None and not isinstance(exhaustive, bool):
            raise TagformerError(f"{file}: 'exhaustive' must be true or false.")
        try:
            return cls(file, LabelSpace.from_dict(content), exhaustive)
        except TagformerError as error:
            raise TagformerError(f"{file}: {error}") from error


def foreign_sidecar(file: Path) -> tuple[str, ...]:
    """A sentence on a labels.json that is not used, because another tool wrote it; nothing otherwise."""
    if not file.is_file() or _content(file) is not None:
        return ()
    return (f'{file} is not used, since it has no list "names" of labels as Tagformer writes it.',)


def _content(file: Path) -> dict[str, Any] | None:
    """The object in the file; None where it does not exist, or has no list of names.

    Raises:
        TagformerError: it has names, but is not JSON.
    """
    if not file.is_file():
        return None
    try:
        content = read_json(file)
    except TagformerError:
        with suppress(OSError):
            if b'"names"' in file.read_bytes():
                raise
        return None
    return content if isinstance(content, dict) and isinstance(content.get("names"), list) else None


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
