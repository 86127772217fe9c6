"""COCO files with a few images and categories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CATEGORIES = [
    {"id": 18, "name": "dog"},
    {"id": 1, "name": "person"},
    {"id": 17, "name": "cat"},
]


def annotation(number: int, image: int, category: int, box: tuple[float, ...], **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(box), **more}


def instances(annotations: list[dict[str, Any]], images: int = 3) -> dict[str, Any]:
    """Pictures 10, 11, ... of 200 x 100 pixels."""
    return {
        "images": [
            {"id": 10 + i, "file_name": f"{10 + i:012d}.jpg", "width": 200, "height": 100} for i in range(images)
        ],
        "annotations": annotations,
        "categories": CATEGORIES,
    }


def write(file: Path, content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
