"""JSON lines: SPLIT.jsonl with an object an image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tagformer.data.conversion.writers.base import Item, Part, Staged, TextPart, Writer, append
from tagformer.data.formats._common.annotation import write_annotation


class JsonlWriter(Writer):
    """See the module's text."""

    def open(self, file: Path, split: str) -> Part:
        return TextPart(file, lambda item: self._line(item, split))

    def _line(self, item: Item, split: str) -> str:
        path = self.path(item.image, split)
        own_id = {} if item.id == path else {"id": item.id}
        said = write_annotation(item.record.labels, self.job.label_space.names)
        return json.dumps({**own_id, "path": path, **said}, ensure_ascii=False) + "\n"

    def join(self, split: str, parts: Sequence[Path], staged: Staged) -> None:
        with staged(self.job.target / f"{split}.jsonl") as file, file.open("wb") as stream:
            append(parts, stream)
