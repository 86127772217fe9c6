"""Write the small run that tests/runs keeps of each version of the run folder's format.

Usage: python scripts/write_format_run.py tests/runs/format_1

Run it once, when the version changes (``FORMAT_VERSION`` in runs/migration.py), with the code that writes the new
version, and commit the folder. Never rewrite the folder of an earlier version: later versions must read it as it is.
The folder has the run (recipe, labels, weights), a picture, and the probabilities that the run predicts for it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tagformer import Tagger
from tagformer.recipes import Recipe
from tagformer.training import fit

RECIPE = {
    "name": "format",
    "data": {"spec": "scenes?images=96&faint=0", "batch_size": 16, "workers": 0},
    "image": {"size": 32},
    "model": {
        "name": "ctran",
        "backbone": {
            "name": "resnet10t",
            "pretrained": False,
            "options": {"channels": [4, 8, 8, 16], "stem_width": 4, "stem_type": ""},
        },
        "options": {"width": 16, "layers": 1, "heads": 2, "feedforward": 16},
    },
    "training": {"epochs": 2},
}
KNOWN = {"disc": True, "ring": False}
KEPT = ("recipe.yaml", "labels.json", "model.safetensors")


def draw() -> Image.Image:
    """A picture of 48 x 40 pixels with colour gradients and a dark square."""
    rows, columns = np.mgrid[0:40, 0:48]
    pixels = np.stack([5 * columns, 6 * rows, 255 - 5 * columns], axis=2).astype(np.uint8)
    pixels[10:30, 12:32] = 40
    return Image.fromarray(pixels)


def main(folder: Path) -> None:
    fit(Recipe.checked(RECIPE, "the recipe of the format's run"), folder)
    draw().save(folder / "picture.png")
    tagger = Tagger.load(folder)
    expected = {
        name: tagger.predict(folder / "picture.png", known=known)[0].to_dict()["probabilities"]
        for name, known in (("nothing known", {}), ("two labels known", KNOWN))
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (*KEPT, "picture.png", "expected.json"):
            path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
