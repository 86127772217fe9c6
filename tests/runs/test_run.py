"""Loading run folders, also damaged ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tagformer import Tagger
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.recipes import Recipe
from tagformer.runs.run import write_labels, write_weights


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


def test_tensors_that_share_memory_are_written_in_full(tmp_path: Path, small_recipe: Callable[..., Recipe]) -> None:
    recipe = small_recipe()
    memory = torch.arange(6.0).reshape(3, 2)
    state = {"tied": memory, "alias": memory, "part": memory[1:], "turned": memory.t(), "alone": torch.ones(2)}
    recipe.save(tmp_path / "recipe.yaml")
    write_labels(tmp_path, LabelSpace(("dog",)))
    write_weights(tmp_path, state)
    written = load_file(tmp_path / "model.safetensors")
    assert written.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(written[name], tensor), name
