"""The architecture variants of MlTr by name (section 3.1.4, Table 1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tagformer.backbones.mltr.network import MlTrBackbone
from tagformer.backbones.mltr.weights import load_file, load_swin
from tagformer.errors import TagformerError

# Table 1: input resolution, channels C, block numbers in the four stages. The last one is for small images on a CPU.
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
    imagenet: str | None = None,
    **options: Any,
) -> MlTrBackbone:
    """A variant of Table 1.

    Args:
        name: a name in `VARIANTS`.
        pretrained: start from timm's ImageNet weights of the Swin transformer with the same widths; the weights of MlTr
            were never published.
        weights: start from a local file of a Swin transformer or of an MlTr instead.
        image_size: height and width of the images in pixels; None: as in Table 1.
        imagenet: with `pretrained`, which ImageNet the Swin transformer was trained on: ``1k``, ``22k``, or ``22k-1k``
            for 22k and then 1k; None: 1k for the sizes s and m, 22k-1k for l.
        options: of `MlTrBackbone`, in place of those of the variant.

    Raises:
        TagformerError: an unknown option, or weights that do not fit.

    >>> create_mltr("mltr_tiny", width=64).channels
    (64, 128, 256, 512)
    """
    settings = {**VARIANTS[name], **({} if image_size is None else {"image_size": image_size}), **options}
    try:
        backbone = MlTrBackbone(**settings)
    except TypeError as error:
        raise TagformerError(f"backbone '{name}' does not take these options: {error}") from error
    if weights is not None:
        load_file(backbone, Path(weights))
    elif pretrained:
        load_swin(backbone, name, imagenet)
    return backbone
