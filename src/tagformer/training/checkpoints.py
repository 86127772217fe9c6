"""Checkpoints of a training: files of tensors and plain values, so that reading one never runs code."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from lightning.fabric.plugins import CheckpointIO

from tagformer.errors import TagformerError
from tagformer.files import atomic_write, check_regular

PARTS = {"state_dict", "optimizer_states", "loops", "callbacks", "epoch", "global_step", "epoch_losses"}
CALLBACKS = ("History", "BestCheckpoint")  # those whose state a run cannot do without
RESTART = "delete it, and the same command trains from the start"


class CheckpointFiles(CheckpointIO):
    """Writes checkpoints beside their place and renames them, and reads them without running code.

    Lightning writes them to the system's temporary folder first, which may be another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with atomic_write(path, make_folder=False) as temporary, temporary.open("wb") as stream:
            torch.save(checkpoint, stream)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def check_checkpoint(path: Path) -> None:
    """Check that a checkpoint is whole, and that reading it runs no code.

    Raises:
        TagformerError: it is damaged, not a checkpoint of a training, or contains other objects than tensors and plain
            values.
    """
    try:
        check_regular(path)
        with ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:  # PyTorch does not compare the checksums
                raise BadZipFile(f"the checksum of {damaged} is wrong")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:  # its text is advice for users of torch.load
        raise TagformerError(
            f"{path} contains other objects than tensors and plain values, and reading those could run code: {RESTART}."
        ) from error
    except Exception as error:  # damaged bytes raise errors of any kind
        raise TagformerError(f"{path} is damaged and the run cannot go on: {RESTART}.") from error
    if not _is_complete(checkpoint):
        raise TagformerError(f"{path} is not a checkpoint of a training: {RESTART}.")


def _is_complete(checkpoint: Any) -> bool:
    """Whether all is there that Lightning would otherwise silently begin anew."""
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= PARTS:
        return False
    callbacks, optimizers = checkpoint["callbacks"], checkpoint["optimizer_states"]
    states = [callbacks.get(name) for name in CALLBACKS] if isinstance(callbacks, dict) else [None]
    return all(states) and isinstance(optimizers, list) and len(optimizers) == 1
