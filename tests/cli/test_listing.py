"""``tagformer data``, ``models`` and ``recipes``."""

from __future__ import annotations

import re
from pathlib import Path

from tagformer.recipes import list_recipes
from tests.helpers import CommandLine, write_folder


def test_data_describes_and_counts(tmp_path: Path, tagformer: CommandLine) -> None:
    table = write_folder(tmp_path / "data", 9)
    (table.parent / "image-02.png").write_text("no picture")
    (table.parent / "image-04.png").unlink()
    table.write_text(table.read_text().replace("image-08.png,blue", "image-08.png,"))
    code, printed, _ = tagformer("data", f"csv:{table}")
    assert code == 0
    assert "9 images, 3 labels" in printed
    assert "labels per image  0.89 (none on 1)" in printed
    assert "unknown cells     11.1%" in printed
    assert "bad images        2" in printed
    assert "image-04.png does not exist" in printed
    assert re.search(r"red\s+│?\s+3 ", printed)
    assert "coco:" in tagformer("data")[1]


def test_models_and_recipes_are_listed(tagformer: CommandLine) -> None:
    printed = tagformer("models")[1]
    assert "ctran: The Classification Transformer." in printed
    assert "uses known labels: no" in printed
    printed = tagformer("recipes")[1]
    assert all(name in printed for name in list_recipes())
    assert "image_dropout: 0.3" in tagformer("recipes", "scenes-ctran")[1]
