"""What labels imply of others is trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tagformer.errors import TagformerError
from tagformer.recipes import Recipe
from tagformer.training import Reporter
from tagformer.training.prepare import prepare


def test_training_labels_are_closed(small_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    rows = [("dog", "1,,", [1, 1, -1]), ("none", "0,,", [0, -1, -1]), ("no animal", ",0,1", [0, 0, 1])]
    for split in ("train", "val", "test"):
        lines = [f"{split}-{name}.jpg,{states}" for name, states, _ in rows]
        (tmp_path / f"{split}.csv").write_text("path,dog,animal,sea\n" + "\n".join(lines) + "\n")
        for name, _, _ in rows:
            (tmp_path / f"{split}-{name}.jpg").write_bytes(b"not looked at")
    tree = tmp_path / "tree.csv"
    tree.write_text("child,parent\ndog,animal\n")
    lines: list[str] = []
    recipe = small_recipe(f"data.spec=csv:{tmp_path}", f"data.tree={tree}")
    prepared = prepare(recipe, tmp_path / "run", False, Reporter(lines.append))
    for dataset in (prepared.train, prepared.val):
        assert dataset.labels.tolist() == [expected for _, _, expected in rows]
    assert f"2 states of labels follow from {tree}." in lines
    tree.write_text("child,parent\ncat,animal\n")
    with pytest.raises(TagformerError, match="line 2: 'cat' is no label"):
        prepare(recipe, tmp_path / "other", False, Reporter(lines.append))
