"""The files of a run belong together: damaged, swapped and foreign ones are one sentence."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tagformer.errors import TagformerError
from tagformer.recipes import Recipe
from tagformer.runs.history import read_history
from tagformer.runs.run import Run
from tagformer.training import fit
from tagformer.training.checkpoints import check_checkpoint

Recipes = Callable[..., Recipe]


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    return folder


def flipped(content: bytes, draw: random.Random) -> bytes:
    """The content with one bit changed."""
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["labels.json", "model.safetensors"])
def test_a_flipped_bit_is_noticed(run: Path, name: str) -> None:
    draw, content = random.Random(0), (run / name).read_bytes()
    before = json.loads((run / "labels.json").read_text()), Run.load(run).state()
    for _ in range(60):
        (run / name).write_bytes(flipped(content, draw))
        try:
            changed = Run.load(run)
            state = changed.state()
            changed.model()
        except TagformerError:
            continue
        assert json.loads((run / "labels.json").read_text()) == before[0]  # white space
        assert all(torch.equal(state[key], value) for key, value in before[1].items())


def test_a_flipped_bit_in_a_checkpoint_is_noticed(run: Path) -> None:
    draw, file = random.Random(0), run / "checkpoints" / "last.ckpt"
    content = file.read_bytes()
    noticed = 0
    for _ in range(60):
        file.write_bytes(flipped(content, draw))
        try:
            check_checkpoint(file)
        except TagformerError:
            noticed += 1
    assert noticed >= 58  # the padding between the tensors has no checksum


def test_the_weights_of_another_run_are_noticed(run: Path, tmp_path: Path, small_recipe: Recipes) -> None:
    fit(small_recipe("training.seed=2"), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", run)
    with pytest.raises(TagformerError, match=r"model\.safetensors holds the weights of another run: restore the file"):
        Run.load(run).model()
    shutil.copy(tmp_path / "other" / "checkpoints" / "last.ckpt", run / "checkpoints")
    with pytest.raises(TagformerError, match=r"last\.ckpt is a checkpoint of another run: delete it"):
        fit(Run.load(run).recipe, run, resume=True)


def test_weights_without_the_runs_mark_are_noticed_and_can_be_accepted(run: Path) -> None:
    save_file(load_file(run / "model.safetensors"), run / "model.safetensors")
    with pytest.raises(TagformerError, match=r"or, to use these weights, delete the entries 'digest' and 'run'"):
        Run.load(run).model()
    content = json.loads((run / "labels.json").read_text())
    kept = {key: value for key, value in content.items() if key not in ("digest", "run")}
    (run / "labels.json").write_text(json.dumps(kept))
    Run.load(run).model()


@pytest.mark.parametrize("change", ["image.size=64", "model.options.heads=4", "image.mean=[0.1, 0.1, 0.1]"])
def test_a_recipe_that_the_weights_are_not_for_is_noticed(run: Path, change: str) -> None:
    Run.load(run).recipe.overridden([change]).save(run / "recipe.yaml")
    key = change.partition("=")[0]
    with pytest.raises(TagformerError, match=rf"the weights were trained with {key} .* but recipe\.yaml has"):
        Run.load(run).model()


def test_settings_that_do_not_matter_to_the_weights_may_change(run: Path) -> None:
    Run.load(run).recipe.overridden(["data.spec=csv:moved.csv", "data.workers=1"]).save(run / "recipe.yaml")
    Run.load(run).model()


def test_changed_labels_are_noticed(run: Path) -> None:
    text = (run / "labels.json").read_text()
    (run / "labels.json").write_text(text.replace("disc", "disk"))
    with pytest.raises(TagformerError, match=r"labels\.json was changed after it was written, or is damaged"):
        Run.load(run)


@pytest.mark.parametrize("value", [float("nan"), 2.0, -0.5, [0.5], "0.5", None, 10**400])
@pytest.mark.parametrize("key", ["thresholds", "frequencies"])
def test_thresholds_and_frequencies_are_probabilities(run: Path, key: str, value: Any) -> None:
    content = json.loads((run / "labels.json").read_text())
    content[key] = [value] * len(content["names"])
    (run / "labels.json").write_text(json.dumps(content))
    with pytest.raises(TagformerError, match=r"must be numbers from 0 to 1|is not a label file of a run"):
        Run.load(run)


def test_tuning_keeps_all_else(run: Path) -> None:
    before = json.loads((run / "labels.json").read_text())
    Run.load(run).save_thresholds(torch.full((len(before["names"]),), 0.25), temperature=2.0)
    after = json.loads((run / "labels.json").read_text())
    assert after.pop("digest") != before.pop("digest")
    assert after == {**before, "temperature": 2.0, "thresholds": [0.25] * len(before["names"])}
    Run.load(run).model()


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"epoch,loss\n1,high\n", b"a,b\n1,2\n", b'epoch\n"1', b"epoch,loss\n1,2,3\n", b"epoch\n\0\n"],
)
def test_a_foreign_history_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "history.csv"
    file.write_bytes(content)
    with pytest.raises(TagformerError, match=r"history\.csv is not the history of a training .*: delete it"):
        read_history(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["state_dict"].popitem(),
        lambda content: content["optimizer_states"].clear(),
        lambda content: content.update(loops={}),
        lambda content: content.update(loops={"fit_loop": 1}),
        lambda content: content["callbacks"].update(History={}),
        lambda content: content.update(callbacks=None),
        lambda content: content.update(epoch_losses=["a"]),
    ],
)
def test_a_checkpoint_with_other_content_is_one_sentence(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = run / "checkpoints" / "last.ckpt"
    content = torch.load(file, weights_only=True)
    change(content)
    torch.save(content, file)
    with pytest.raises(TagformerError, match=r"last\.ckpt (does not fit|is not a).*: delete it") as caught:
        fit(Run.load(run).recipe.overridden(["training.epochs=2"]), run, resume=True)
    assert "\n" not in str(caught.value)
