"""The file labels.json beside a table: ``{"names": [...], "groups": {...}, "extra": [...]}`` fixes the labels."""

from __future__ import annotations

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
        """Read the file; None where it does not exist.

        Raises:
            TagformerError: it is not JSON, or not of this form.
        """
        if not file.is_file():
            return None
        content = read_json(file)
        if not isinstance(content, dict) or not _are_names(content.get("names")):
            raise TagformerError(f"{file} has no list 'names': give the labels as {{\"names\": [...]}}.")
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


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
