"""One step of every paper's recipe at its full size, from random weights: ``pytest -m slow tests/recipes``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tagformer.recipes import list_recipes
from tests.data_files.cub import write_birds
from tests.helpers import write_folder

PAPERS = [name for name, recipe in list_recipes().items() if not recipe.source.startswith("ours")]


def written_spec(name: str, folder: Path) -> str:
    """The address of a small data set: birds for the recipe of CUB, plain pictures for the others."""
    if name == "ctran-cub":
        return f"cub:{write_birds(folder, 8)}?concepts=312&not_visible=unknown"
    table = write_folder(folder, 6, header="path,tags,split")
    first, *rows = table.read_text().splitlines()
    lines = [f"{row},{'val' if number % 2 else 'train'}" for number, row in enumerate(rows)]
    table.write_text("\n".join([first, *lines]) + "\n")
    return f"csv:{table}"


CODE = """
import math, resource, sys
from pathlib import Path
from tagformer.recipes import load_recipe
from tagformer.training import fit

name, spec, out = sys.argv[1:]
settings = ["model.backbone.pretrained=false", "training.epochs=1", "training.precision=32-true"]
recipe = load_recipe(name).overridden([*settings, "data.batch_size=2", "data.workers=0", f"data.spec={spec}"])
assert math.isfinite(fit(recipe, Path(out)).rows[0]["loss"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_s_recipe_takes_a_step_at_full_size(name: str, tmp_path: Path) -> None:
    arguments = [name, written_spec(name, tmp_path / "data"), str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True)
    shutil.rmtree(tmp_path / "run", ignore_errors=True)  # over two gigabytes
    assert done.returncode == 0, done.stderr
    peak = float(done.stdout.split()[-1])
    print(f"{name}: peak {peak:.1f} GB")
    assert peak < 8
