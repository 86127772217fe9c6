"""The sizes of MlTr by name (Table 1), with the weights that they can start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tagformer.backbones.mltr.network import MlTrBackbone
from tagformer.backbones.mltr.weights import load_file, load_swin
from tagformer.errors import TagformerError

# Table 1: image size, channels of the first stage, units in each stage; the last for small pictures on two cores.
VARIANTS: dict[str, dict[str, Any]] = {
    "mltr_s": {"image_size": 224, "width": 96, "units": (1, 1, 3, 1)},
    "mltr_m": {"image_size": 384, "width": 96, "units": (1, 1, 9, 1)},
    "mltr_l": {"image_size": 384, "width": 128, "units": (1, 1, 9, 1)},
    "mltr_tiny": {"image_size": 96, "width": 32, "units": (1, 1, 1, 1)},
}


def create_mltr(
    name: str,
    pretrained: bool = False,
    weights: str | Path | None = None,
    image_size: int | None = None,
    **options: Any,
) -> MlTrBackbone:
    """A variant of Table 1, with some of its options changed.

    Args:
        pretrained: start from the ImageNet weights that timm has of the Swin transformer of the same widths; MlTr's own
            were never published.
        weights: a local file instead, of a Swin transformer or of an MlTr.

    Raises:
        TagformerError: an option that there is not, weights that do not fit.
    """
    settings = {**VARIANTS[name], **({} if image_size is None else {"image_size": image_size}), **options}
    try:
        backbone = MlTrBackbone(**settings)
    except TypeError as error:
        raise TagformerError(f"backbone '{name}' does not take these options: {error}") from error
    if weights is not None:
        load_file(backbone, Path(weights))
    elif pretrained:
        load_swin(backbone, name)
    return backbone
