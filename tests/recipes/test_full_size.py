"""One step of every paper's recipe at its full size, from random weights: ``pytest -m slow tests/recipes``."""

from __future__ import annotations

import math
import resource
from pathlib import Path

import pytest

from tagformer.recipes import list_recipes
from tagformer.training import fit
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


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_s_recipe_takes_a_step_at_full_size(name: str, tmp_path: Path) -> None:
    recipe = list_recipes()[name].overridden(
        [
            *("model.backbone.pretrained=false", "training.epochs=1", "training.precision=32-true"),
            *("data.batch_size=2", "data.workers=0", f"data.spec={written_spec(name, tmp_path / 'data')}"),
        ]
    )
    fitted = fit(recipe, tmp_path / "run")
    assert math.isfinite(fitted.rows[0]["loss"])
    (tmp_path / "run" / "checkpoints" / "last.ckpt").unlink()  # over a gigabyte
    (tmp_path / "run" / "checkpoints" / "best.ckpt").unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"{name}: peak {peak:.1f} GB so far")
    assert peak < 8
