"""What a run in stages keeps, beside its model, to go on from: the folder ``stages`` in the run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tagformer.errors import TagformerError
from tagformer.files import atomic_write, read_json, write_json
from tagformer.models.evidence import Evidence
from tagformer.training.stages.heads import Heads, head_state

STAGES = "stages"  # the folder
HEADS = "heads.safetensors"  # the heads and their out-of-fold logits
BAD_IMAGES = "bad_images.json"  # those that the heads were not trained on
ENCODER = "encoder.safetensors"  # the encoder that has not seen the held-out images
COOCCURRENCE = "cooccurrence.safetensors"  # before an encoder: that of all images, and of those not held out
UNSEEN = "unseen."  # begins the names of the latter


class StageFiles:
    """The files of the stages of a run.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / STAGES

    def write_heads(self, heads: Heads, evidence_logits: Tensor, rows: Tensor, bad_images: Sequence[str] = ()) -> None:
        """Write the heads of the only setting, and the images that they were trained on.

        Args:
            heads: of one setting.
            evidence_logits: their out-of-fold logits (V, N, L).
            rows: of the images that could be read, int64.
            bad_images: one sentence for each of the others.
        """
        tensors = {"weight": heads.weight[0], "bias": heads.bias[0], "mean": heads.mean, "deviation": heads.deviation}
        self._write(HEADS, {**tensors, "logits": evidence_logits, "rows": rows})
        write_json(self.folder / BAD_IMAGES, list(bad_images))

    def images(self) -> tuple[Tensor, tuple[str, ...]]:
        """The rows of the images that could be read, int64, and one sentence for each of the others."""
        return self._read(HEADS)["rows"], tuple(map(str, read_json(self.folder / BAD_IMAGES)))

    def head_state(self, which: Sequence[int], merged: bool) -> dict[str, Tensor]:
        """The weights of some of the heads, see `heads.head_state`."""
        saved = self._read(HEADS)
        return head_state(saved["mean"], saved["deviation"], saved["weight"], saved["bias"], which, merged)

    def evidence_logits(self) -> Tensor:
        """The out-of-fold logits (V, N, L) of the heads."""
        return self._read(HEADS)["logits"]

    def write_encoder(self, model: Evidence) -> None:
        """Write the encoder of a model that has not seen the held-out images."""
        buffers = {name: value for name, value in model.named_buffers() if name.startswith("evidence_")}
        self._write(ENCODER, {**dict(model.encoder_parameters()), **buffers})

    def write_cooccurrence(self, model: Evidence, unseen: Evidence) -> None:
        """Write the co-occurrence of a model, and of one that has not seen the held-out images."""
        of_unseen = {UNSEEN + name: value for name, value in unseen.effects.items()}
        self._write(COOCCURRENCE, {**model.effects, **of_unseen})

    def cooccurrence(self, unseen: bool) -> dict[str, Tensor]:
        """The co-occurrence by the names of its weights; empty where none was trained.

        Args:
            unseen: that of the images that are not held out; else that of all.
        """
        if not (self.folder / COOCCURRENCE).is_file():
            return {}
        saved = self._read(COOCCURRENCE)
        wanted = {name: value for name, value in saved.items() if name.startswith(UNSEEN) == unseen}
        return {name.removeprefix(UNSEEN): value for name, value in wanted.items()}

    def encoder_state(self) -> dict[str, Tensor]:
        """The weights of that encoder by name; empty where none was trained."""
        return self._read(ENCODER) if (self.folder / ENCODER).is_file() else {}

    def _write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        with atomic_write(self.folder / name) as temporary:
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, temporary)

    def _read(self, name: str) -> dict[str, Tensor]:
        try:
            return load_file(self.folder / name)
        except (SafetensorError, OSError) as error:
            raise TagformerError(
                f"{self.folder / name} is missing or damaged ({error}): train into another --out."
            ) from error
