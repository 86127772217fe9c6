"""The image size of a recipe follows its backbone where the recipe does not name one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Pixels per side of the images that the variants of MlTr are built for; `backbones.mltr.variants` loads torch.
IMAGE_SIZES = {"mltr_s": 224, "mltr_m": 384, "mltr_l": 384, "mltr_tiny": 96}


def backbone_name(values: Mapping[str, Any]) -> Any:
    """The name of the backbone in plain values; None where they have none."""
    for key in ("model", "backbone", "name"):
        values = values.get(key) if isinstance(values, Mapping) else None  # type: ignore[assignment]
    return values


def with_image_size_of(backbone: Any, values: dict[str, Any], before: Any = None) -> dict[str, Any]:
    """The values with the image size of another variant of MlTr; that of other backbones follows nothing."""
    if backbone == before or backbone not in IMAGE_SIZES:
        return values
    return {**values, "image": {**(values.get("image") or {}), "size": IMAGE_SIZES[backbone]}}
