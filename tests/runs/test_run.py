"""Loading run folders, also damaged ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagformer import Tagger
from tagformer.errors import TagformerError


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "recipe.yaml").unlink(), "is not a run folder: it has no recipe.yaml"),
        (lambda run: (run / "model.safetensors").unlink(), "has no weights yet: finish its training"),
        (lambda run: (run / "model.safetensors").write_bytes(b"x" * 40), "is not a safetensors file"),
        (lambda run: (run / "labels.json").write_text("{"), r"labels\.json, line 1: not valid JSON"),
        (lambda run: (run / "labels.json").write_text('{"names": ["a"]}'), "is not a label file of a run"),
        (
            lambda run: (run / "labels.json").write_text('{"names": ["a", "b"], "thresholds": [0.5]}'),
            "1 thresholds for 2 labels",
        ),
        (
            lambda run: (run / "labels.json").write_text('{"names": ["a", "b"], "thresholds": [0.5, 0.5]}'),
            "does not fit the model and the 2 labels of",
        ),
    ],
)
def test_a_damaged_run_is_reported_with_its_file(
    small_run: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    damage(run)
    with pytest.raises(TagformerError, match=message):
        Tagger.load(run)
