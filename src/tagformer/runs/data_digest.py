"""The file data.json of a run folder: which images, labels and splits a run was started with.

A run that goes on with other data would mix two trainings and leak validation images into training. Runs of older
versions have no such file and are not checked.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.files import read_json, write_json

DATA = "data.json"


@dataclass(frozen=True)
class DataDigest:
    """What identifies the data of a run.

    Attributes:
        train, val: the numbers of images.
        left_out: the number of images that were left out because their files do not exist.
        digest: of the ids, the labels and the split of each image.
    """

    train: int
    val: int
    left_out: int
    digest: str

    @classmethod
    def of(cls, train: MultiLabelDataset, val: MultiLabelDataset) -> DataDigest:
        """The digest of the two splits of a run."""
        digest = hashlib.blake2b(digest_size=16)
        for dataset in (train, val):
            digest.update(repr((len(dataset), dataset.label_space.names)).encode("utf-8", "surrogatepass"))
            for image_id in dataset.ids:
                digest.update(image_id.encode("utf-8", "surrogateescape") + b"\0")
            for block in dataset.label_rows.blocks():
                digest.update(block.numpy().tobytes())
        left_out = len({*train.left_out, *val.left_out})
        return cls(len(train), len(val), left_out, digest.hexdigest())

    @property
    def listed(self) -> int:
        """The number of images that the data lists, whether their files exist or not."""
        return self.train + self.val + self.left_out

    def save(self, folder: Path) -> None:
        """Write data.json to a run folder."""
        write_json(folder / DATA, asdict(self))

    def check(self, folder: Path) -> None:
        """Compare with the data.json of a run folder, if it has one.

        Images whose files vanished, and that ``--on-bad-image skip`` leaves out, are no difference.

        Raises:
            TagformerError: the run was started with other data, or the file is damaged.
        """
        if not (folder / DATA).is_file():
            return
        content = read_json(folder / DATA)
        started = _parse(content)
        if started is None:
            raise TagformerError(f"{folder / DATA} is damaged: delete it to go on without comparing the data.")
        if self == started:
            return
        if self.listed == started.listed and self.left_out != started.left_out:
            return
        changed = f"{started.train} + {started.val} images then, {self.train} + {self.val} now"
        if (self.train, self.val) == (started.train, started.val):
            changed = f"still {self.train} + {self.val} images, but other ids, labels or splits"
        raise TagformerError(
            f"the data changed since {folder} was started ({changed}, to train and to validate): restore the data, or "
            "train into another --out."
        )


def _parse(content: Any) -> DataDigest | None:
    """The content of data.json; None where it is damaged."""
    kinds = {"train": int, "val": int, "left_out": int, "digest": str}
    if not isinstance(content, dict) or not all(isinstance(content.get(key), kind) for key, kind in kinds.items()):
        return None
    return DataDigest(**{key: content[key] for key in kinds})
