"""Starting from another run: everything but the heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.recipes import Recipe
from tagformer.runs.run import model_from_recipe, write_labels, write_weights
from tagformer.runs.warm_start import start_from_run
from tests.helpers import CommandLine, assert_same_weights


def run_of(folder: Path, model: str, labels: tuple[str, ...], seed: int = 0, **values: object) -> Path:
    """A run folder with random weights."""
    torch.manual_seed(seed)
    recipe = recipe_of(model, **values)
    folder.mkdir()
    recipe.save(folder / "recipe.yaml")
    space = LabelSpace(labels)
    write_labels(folder, space)
    write_weights(folder, model_from_recipe(recipe, space).state_dict())
    return folder


def recipe_of(model: str, backbone: str = "tiny", size: int = 64, **options: object) -> Recipe:
    network = {"name": backbone, "pretrained": False}
    return Recipe.checked(
        {"image": {"size": size}, "model": {"name": model, "backbone": network, "options": options}}, "a test"
    )


def test_every_weight_but_those_of_the_labels_is_loaded(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "ctran", ("a", "b", "c"), width=32, layers=1)
    torch.manual_seed(1)
    model = model_from_recipe(recipe_of("ctran", width=32, layers=1), LabelSpace(("x", "y", "z")))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    count = start_from_run(model, folder)
    state = load_file(folder / "model.safetensors")
    own = {name for name in before if name.startswith(("label_embedding", "state_embedding", "classifier_"))}
    assert len(own) == 4
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name] if name in own else state[name]), name
    assert count == sum(weight.numel() for name, weight in state.items() if name not in own)


def test_the_backbone_moves_between_models(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "linear", ("a", "b"))
    torch.manual_seed(1)
    model = model_from_recipe(recipe_of("ctran", width=32), LabelSpace(("x", "y", "z")))
    start_from_run(model, folder)
    state = load_file(folder / "model.safetensors")
    for name, weight in model.backbone.state_dict().items():
        assert torch.equal(weight, state[f"backbone.{name}"])


def test_with_heads_every_weight_is_loaded(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "csra", ("a", "b", "c"), ensemble=2)
    torch.manual_seed(1)
    model = model_from_recipe(recipe_of("csra", ensemble=2), LabelSpace(("a", "b", "c")))
    state = load_file(folder / "model.safetensors")
    assert not torch.equal(model.state_dict()["classifier_weight"], state["classifier_weight"])
    assert start_from_run(model, folder, heads=True) == sum(weight.numel() for weight in state.values())
    assert_same_weights(model.state_dict(), state)


def test_the_head_of_csra_is_that_of_a_model_on_evidence(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "csra", ("a", "b"), ensemble=2)
    model = model_from_recipe(recipe_of("evidence", ensemble=2, width=16), LabelSpace(("a", "b")))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    start_from_run(model, folder, heads=True)
    state = load_file(folder / "model.safetensors")
    assert_same_weights(model.state_dict(), {**before, **state})


def test_heads_of_other_labels_or_of_another_shape_are_rejected(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "csra", ("a", "b"))
    for labels in (("b", "a"), ("a", "b", "c")):
        model = model_from_recipe(recipe_of("csra"), LabelSpace(labels))
        with pytest.raises(TagformerError, match="run has other labels: start from it without its heads"):
            start_from_run(model, folder, heads=True)
        start_from_run(model, folder)
    model = model_from_recipe(recipe_of("csra", ensemble=3), LabelSpace(("a", "b")))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(TagformerError, match="run has heads of another shape"):
        start_from_run(model, folder, heads=True)
    assert_same_weights(model.state_dict(), before)
    start_from_run(model, folder)


def test_an_mltr_moves_to_another_image_size(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "mltr", ("a", "b"), backbone="mltr_tiny")
    table = "backbone.stages.0.0.attention.table.weight"
    write_weights(folder, {**load_file(folder / "model.safetensors"), table: torch.full((9, 1), 0.7)})
    model = model_from_recipe(recipe_of("mltr", backbone="mltr_tiny", size=96), LabelSpace(("x", "y", "z")))
    start_from_run(model, folder)
    state, own = load_file(folder / "model.safetensors"), model.state_dict()
    assert torch.equal(own["object_aware_token"], state["object_aware_token"])
    assert own[table].shape != state[table].shape
    torch.testing.assert_close(own[table], torch.full_like(own[table], 0.7))


def test_another_backbone_is_rejected(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "linear", ("a", "b"))
    model = model_from_recipe(recipe_of("linear", backbone="mltr_tiny"), LabelSpace(("a", "b")))
    with pytest.raises(TagformerError, match="has another backbone, tiny"):
        start_from_run(model, folder)
    wider = run_of(tmp_path / "wider", "linear", ("a", "b"), backbone="mltr_tiny")
    settings = {"model": {"name": "linear", "backbone": {"name": "mltr_tiny", "options": {"width": 64}}}}
    model = model_from_recipe(Recipe.checked({**settings, "image": {"size": 64}}, "a test"), LabelSpace(("a",)), False)
    with pytest.raises(TagformerError, match="has another backbone, mltr_tiny"):
        start_from_run(model, wider)
    (wider / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(TagformerError, match="is not a safetensors file"):
        start_from_run(model, wider)


def test_pretraining_on_a_tree_of_classes_and_starting_from_it(tmp_path: Path, tagformer: CommandLine) -> None:
    """Single-label classification of image folders, then multi-label training of another model from its weights."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for shade, name in enumerate(("dark", "light")):
            (tmp_path / "tree" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 60, (32, 32, 3)) + 180 * shade
                file = tmp_path / "tree" / split / name / f"{number}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(file)
    small = ("--set", "image.size=32", "--set", "data.workers=0", "--set", "data.batch_size=8")
    first = ("train", "--data", f"imagefolder:{tmp_path / 'tree'}", "--model", "mltr", "--backbone", "mltr_tiny")
    pretrained = tmp_path / "pretrained"
    loss = ("--set", "loss.name=softmax", "--set", "training.epochs=2", "--set", "optimizer.lr=1e-3")
    code, _, errors = tagformer(*first, *small, *loss, "--out", str(pretrained))
    assert code == 0, errors
    second = ("train", "--data", "scenes?images=48", "--model", "linear", "--backbone", "mltr_tiny", *small)
    started = tmp_path / "started"
    only = ("--set", "optimizer.lr=1e-12", "--set", "optimizer.weight_decay=0", "--set", "training.epochs=1")
    code, output, errors = tagformer(*second, *only, "--init", str(pretrained), "--out", str(started))
    assert code == 0, errors
    assert "weights are those of" in output
    before, after = load_file(pretrained / "model.safetensors"), load_file(started / "model.safetensors")
    for name, weight in after.items():
        if name.startswith("backbone."):
            torch.testing.assert_close(weight, before[name], rtol=0, atol=1e-6)
    code, _, errors = tagformer(*second, "--init", str(tmp_path / "tree"), "--out", str(tmp_path / "other"))
    assert code == 2
    assert "tree" in errors
